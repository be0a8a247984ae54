// A hub that answers what it likes.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { mutateBytes, mutateJson, mutateTree, oddValue } from '../mutate.js';
import { fetchModel } from '../package.js';
import type { Random } from '../random.js';
import { type Target, WrongResult } from '../target.js';

const content = Buffer.from('GGUF of no model');
const hash = createHash('sha256').update(content).digest('hex');
const commit = 'a'.repeat(40);
const names = ['model-Q4_K_M.gguf', 'mmproj-f16.gguf', 'config.json', 'model.safetensors'];
const oddNames = [
  '../../x.gguf',
  '/tmp/x.gguf',
  'a/../../x.gguf',
  'C:\\x.gguf',
  '..',
  '.',
  '',
  'a\u0000.gguf',
  'x/.gguf',
  `${'n'.repeat(300)}.gguf`,
  '%2e%2e/x.gguf',
  '-Q4_K_M.gguf',
];

type Answer = (url: string, response: ServerResponse) => void;
let answer: Answer = (_, response) => response.end();
let server: Server | undefined;

function header(value: unknown): string {
  // Others cannot be sent.
  return (typeof value === 'string' ? value : `${JSON.stringify(value)}`).replace(/[^\t\x20-\x7e]/g, '?');
}

function answerOf(random: Random): Answer {
  const listed = random.chance(0.5) ? names : [random.pick(oddNames), ...names.slice(0, random.below(4))];
  const siblings = listed.map((rfilename) => ({ rfilename }));
  const list = { sha: random.chance(0.9) ? commit : oddValue(random), siblings };
  const text = random.chance(0.5) ? mutateJson(list, random) : Buffer.from(JSON.stringify(list));
  const status = random.chance(0.85) ? 200 : random.pick([204, 206, 301, 400, 401, 403, 404, 416, 429, 500]);
  const headers: Record<string, unknown> = {
    'x-repo-commit': commit,
    'x-linked-etag': `"${hash}"`,
    'x-linked-size': content.length,
  };
  const changed = (random.chance(0.5) ? mutateTree(headers, random) : headers) as typeof headers;
  const bytes = random.chance(0.3) ? mutateBytes(content, random) : content;
  const breaks = random.chance(0.03);
  return (url, response) => {
    if (url.startsWith('/api/')) {
      response.writeHead(status, { location: '/elsewhere' }).end(text);
      return;
    }
    if (typeof changed === 'object' && changed !== null)
      for (const [name, value] of Object.entries(changed))
        if (/^[a-z-]+$/.test(name)) response.setHeader(name, header(value));
    response.writeHead(url.includes('resolve') ? status : 404, { location: '/elsewhere' });
    if (breaks) response.destroy();
    else response.end(bytes);
  };
}

export const hub: Target = {
  name: 'hub',
  ...{ batch: 200, seconds: 30, megabytes: 1500, share: 1, argumentErrors: true },
  async prepare() {
    server = createServer(({ url }, response) => answer(url ?? '', response));
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    process.env.HF_ENDPOINT = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  },
  files: () => ({}),
  async run(folder, random) {
    answer = answerOf(random);
    const around = join(folder, '..', 'around');
    const home = join(around, 'a', 'b');
    mkdirSync(home, { recursive: true });
    process.env.HF_HOME = home;
    const reference = random.chance(0.8)
      ? random.pick([
          'hf:owner/model',
          'hf:owner/model:Q4_K_M',
          'hf:owner/model/mmproj-f16.gguf',
          `hf:owner/model@${commit}`,
        ])
      : `hf:owner/model/${random.pick(oddNames)}`;
    try {
      await fetchModel(reference, random.pick(['vision', 'projector', 'llm'] as const));
    } finally {
      const outside = [...readdirSync(around), ...readdirSync(join(around, 'a'))].filter(
        (name) => name !== 'a' && name !== 'b',
      );
      rmSync(around, { recursive: true, force: true });
      if (outside.length > 0) outsideFailure(outside);
    }
  },
};

function outsideFailure(names: readonly string[]): void {
  throw new WrongResult(`files outside of the cache: ${names.join(', ')}`);
}
