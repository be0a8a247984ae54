import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { catalogue } from '../../dist/models/catalogue.js';
import { parseReference } from '../../dist/models/hub/reference.js';
import { longvlm, start } from '../fixtures/commandLine.js';
import { startHub } from '../fixtures/hub.js';
import { pico } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

const folder = await temporaryFolder();
const sampled = ['--frames', '20', '--segment-frames', '5', '--merge-tokens', '6', '--threads', '1'];
const short = [...sampled, '--max-tokens', '4', '--temperature', '0', '--no-cache', '--json'];
const { options: llava } = catalogue.find(({ name }) => name === 'llava-1.5-7b')!;
let hub: Awaited<ReturnType<typeof startHub>>;
let env: NodeJS.ProcessEnv;

beforeAll(async () => {
  const { repo, file } = parseReference(llava.llm!);
  const [llm, mmproj] = await Promise.all([readFile(pico.llm), readFile(pico.mmproj)]);
  hub = await startHub({ [repo.name]: { [file!]: llm, [parseReference(llava.projector!).file!]: mmproj } });
  env = { HF_ENDPOINT: hub.url, HF_HOME: join(folder, 'home'), HF_HUB_CACHE: undefined, HF_HUB_OFFLINE: undefined };
});
afterAll(() => hub.close());

describe('two GGUF files', () => {
  test('are all it takes', async () => {
    const { code, stdout, stderr } = await longvlm(
      'ask',
      pico.video,
      'What?',
      '--projector',
      pico.mmproj,
      '--llm',
      pico.llm,
      ...short,
    );
    expect([code, stderr]).toEqual([0, '']);
    const report = JSON.parse(stdout);
    expect(report.video).toMatchObject({ frames: 20, tokens: 29 });
    expect(report.tokenIds).toHaveLength(4);
    expect(report.devices).toMatchObject({ vision: expect.any(String), llm: expect.any(String) });
  });

  test('are described by info, with what is left out of the tower', async () => {
    const { code, stdout } = await longvlm('info', '--projector', pico.mmproj, '--llm', pico.llm, '--json');
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      vision: {
        path: pico.mmproj,
        layers: 5,
        patchLayer: 5,
        note: expect.stringContaining('counted from hidden state 5'),
      },
      projector: { path: pico.mmproj, kind: 'mlp2x_gelu' },
    });
  });

  test('and what they run on, by the same flags and variables as they are asked with', async () => {
    const env = { LONGVLM_PROJECTOR: pico.mmproj, LONGVLM_LLM: pico.llm };
    const flags = ['--vision-precision', 'int8', '--device', 'cpu', '--gpu', 'off'];
    const { stdout } = await start(['info', ...flags, '--json'], env).result;
    expect(JSON.parse(stdout)).toMatchObject({
      vision: { path: pico.mmproj, precision: 'int8', device: 'cpu' },
      llm: { path: pico.llm, device: 'cpu', gpuLayers: 0 },
    });
    const wrong = await start(['info', '--device', 'abacus', '--json'], env).result;
    expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('abacus')]);
  });

  test('of which one is none are refused in a line', async () => {
    const { code, stderr } = await longvlm(
      'ask',
      pico.video,
      'What?',
      '--projector',
      pico.llm,
      '--llm',
      pico.llm,
      ...short,
    );
    expect(code).toBe(1);
    expect(stderr).toMatch(/^longvlm: .*llm\.gguf is a GGUF file of architecture 'llama', not an mmproj file\. .*\n$/);
  });
});

describe('--model', () => {
  const ask = (...more: string[]) =>
    start(['ask', pico.video, 'What?', '--model', 'llava-1.5-7b', ...short, ...more], env).result;

  test('offline, before anything is downloaded, is refused in a line', async () => {
    const { code, stderr } = await ask('--offline');
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /^longvlm: second-state\/Llava-v1\.5-7B-GGUF\/.* is not in the cache, and offline nothing is downloaded\. .*\n$/,
    );
  });

  test('downloads, answers, and then needs no network', async () => {
    expect((await ask()).code).toBe(0);
    const { code, stdout } = await ask('--offline');
    expect(code).toBe(0);
    expect(JSON.parse(stdout).tokenIds).toHaveLength(4);
  });

  test('that nobody knows is wrong usage', async () => {
    const { code, stderr } = await longvlm('ask', pico.video, 'What?', '--model', 'none');
    expect(code).toBe(2);
    expect(stderr).toMatch(/^longvlm: Expected nano, llava-1\.5-7b, .* for model but received "none"\n$/);
  });

  test('encodes without its language model', async () => {
    const other = { ...env, HF_HOME: join(folder, 'other') };
    const output = join(folder, 'f.safetensors');
    const { code } = await start(['encode', pico.video, '-o', output, '--model', 'llava-1.5-7b', ...sampled], other)
      .result;
    expect(code).toBe(0);
    const asked = hub.requests.filter(({ method }) => method === 'GET').at(-1)!.url;
    expect(asked).toContain('mmproj');
  });
});

describe('longvlm models', () => {
  test('lists names, sizes and licences', async () => {
    const { code, stdout } = await longvlm('models');
    expect(code).toBe(0);
    const lines = stdout.trim().split('\n');
    expect(lines).toHaveLength(catalogue.length);
    expect(lines[0]).toMatch(/^\* nano +in the box +mit /);
    expect(stdout).toMatch(/^[* ] llava-1\.5-7b +4\.7 GB +llama2 /m);
  });

  test('as JSON, with where they lie', async () => {
    const models = JSON.parse((await longvlm('models', '--json')).stdout) as { name: string; llm?: string }[];
    expect(models.find(({ name }) => name === 'llava-1.5-7b')!.llm).toBe(llava.llm);
  });
});
