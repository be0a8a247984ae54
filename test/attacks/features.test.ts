// Features files of strangers: each is refused by one error, or all that is done with features works.
import { execFileSync } from 'node:child_process';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { videoLine, warningLines } from '../../dist/cli/report.js';
import { videoReport } from '../../dist/encode/videoReport.js';
import { LongVLM, LongVLMError, VideoFeatures } from '../../dist/index.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';

type Header = Record<string, unknown> & { __metadata__: Record<string, unknown> };

const folder = await temporaryFolder();
const file = join(folder, 'features.safetensors');
let vlm: LongVLM;
let header: Header;
let data: Buffer;
beforeAll(async () => {
  vlm = await LongVLM.load(picoOptions);
  await (await vlm.encode(pico.video, { sampling: { start: 1, end: 15 } })).save(file);
  const bytes = readFileSync(file);
  const length = Number(bytes.readBigUInt64LE(0));
  header = JSON.parse(bytes.toString('utf8', 8, 8 + length));
  data = bytes.subarray(8 + length);
});
afterAll(() => vlm.dispose());

let made = 0;
function written(text: string, tensors = data): string {
  const path = join(folder, `${made++}.safetensors`);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  writeFileSync(path, Buffer.concat([length, Buffer.from(text), tensors]));
  return path;
}

/** The file with a record of its metadata changed, as text so that what JSON.stringify() cannot write is possible. */
function withRecord(key: 'sampling' | 'video', change: (text: string) => string): string {
  const text = change(header.__metadata__[key] as string);
  return written(JSON.stringify({ ...header, __metadata__: { ...header.__metadata__, [key]: text } }));
}

/** Whatever is done with features. */
async function use(features: VideoFeatures): Promise<string> {
  for (const part of ['both', 'local', 'global'] as const) {
    videoReport(features, part);
    vlm.requiredContextSize(features, 'what?', { part });
    await vlm.project(features, { part });
  }
  return videoLine(features) + warningLines(features.source) + features.source.name;
}

const replaced = (key: string, value: string) => (text: string) =>
  text.replace(new RegExp(`("${key}":)("[^"]*"|\\[[^\\]]*\\]|[^,}]+)`), (_, name) => name + value);

const changed = (key: string, value: string) => (text: string) => {
  const result = replaced(key, value)(text);
  if (result === text) throw new Error(`no ${key} in ${text}`);
  return result;
};

describe('a features file', () => {
  test.each<['sampling' | 'video', string, string[]]>([
    ['sampling', 'start', ['"1"', 'null', '-1', '1e999', '{"toFixed":1}', '[1]', '16']],
    ['sampling', 'end', ['"1"', 'null', '-1', '1e999', '0.5']],
    ['sampling', 'frames', ['"20"', '0', '-20', '1e300', '20.5', '21', '40', 'null']],
    ['sampling', 'segmentFrames', ['0', '10', '"5"', '{}']],
    ['sampling', 'tokensPerSegment', ['0', '7', '1e9', '[]']],
    ['sampling', 'globalLayers', ['-1', '6', 'null', '"5"']],
    ['sampling', 'resize', ['"other"', '5', '"__proto__"']],
    ['sampling', 'reduction', ['5', '""', '["merge"]']],
    ['sampling', 'mergeHeads', ['0', '"x"', '1.5']],
    ['video', 'durationSeconds', ['"20"', 'null', '-1', '1e999', '{}', '[20]']],
    ['video', 'frameCount', ['0', '"252"', 'null', '1.5']],
    ['video', 'width', ['0', '-1', '"x"', 'null']],
    ['video', 'height', ['0', '{}']],
    ['video', 'name', ['5', 'null', '{}', '["x"]']],
    ['video', 'warnings', ['null', '"x"', '{}', '{"length":1}', '[5]', '[null]', '[["x"]]']],
  ])('is refused for a wrong %s: %s', async (key, name, values) => {
    for (const value of values)
      await expect(VideoFeatures.load(withRecord(key, changed(name, value))), value).rejects.toMatchObject({
        name: 'LongVLMError',
        code: 'ERR_LONGVLM_WEIGHTS',
        message: expect.stringMatching(/safetensors (has|holds) .*Encode the video again\.$/),
      });
  });

  test.each(['', 'null', '[]', '5', '"x"', '{', '{}', '[{}]', '{"__proto__":{"frames":20}}', '\0'])(
    'is refused for a record that is %j',
    async (text) => {
      for (const key of ['sampling', 'video'] as const)
        await expect(VideoFeatures.load(withRecord(key, () => text))).rejects.toMatchObject({
          code: 'ERR_LONGVLM_WEIGHTS',
        });
    },
  );

  test('takes the last of two equal keys, and no notice of others', async () => {
    const path = withRecord('video', (text) =>
      text.replace('{', '{"__proto__":{"name":5},"toString":1,"constructor":null,"frameCount":"x",'),
    );
    expect(await use(await VideoFeatures.load(path))).toMatch(/video\.mp4$/);
  });

  test('cannot write to a terminal', async () => {
    const path = withRecord('video', (text) =>
      changed('warnings', '["\\u001b[2Jgone\\r\\u202etxt"]')(changed('name', '"\\u001b]0;title\\u0007.mp4"')(text)),
    );
    expect(await use(await VideoFeatures.load(path))).not.toMatch(/[^\P{C}\n]/u);
    const tower = { ...header.__metadata__, tower: '\u001b[2J', sampling: '{"resize":"\\u001b[2J"}' };
    for (const metadata of [
      tower,
      { ...tower, sampling: header.__metadata__.sampling },
      { ...tower, format_version: '\u001b' },
    ]) {
      const loading = VideoFeatures.load(written(JSON.stringify({ ...header, __metadata__: metadata })), {
        tower: vlm.tower,
      });
      await expect(loading).rejects.toMatchObject({
        name: 'LongVLMError',
        message: expect.stringMatching(/^\P{Cc}*$/u),
      });
    }
  });

  test('is refused for values that no encoding gives', async () => {
    const offset = (name: string) => (header[name] as { data_offsets: [number, number] }).data_offsets[0];
    const cases: [string, number, RegExp][] = [
      ['local', Number.NaN, /'local' in .* holds NaN at \[0, 0, 0\]/],
      ['global', Number.POSITIVE_INFINITY, /'global' in .* holds Infinity at \[0, 0\]/],
      ['sizes', -1, /holds a negative number in 'sizes'/],
      ['timestamps', 1e6, /holds times in 'timestamps' that do not ascend/],
      ['timestamps', -1, /holds times in 'timestamps' that do not ascend from 0/],
    ];
    for (const [name, value, message] of cases) {
      const tensors = Buffer.from(data);
      tensors.writeFloatLE(value, offset(name));
      await expect(VideoFeatures.load(written(JSON.stringify(header), tensors))).rejects.toThrow(message);
    }
  });

  test('that claims the right models with other channels is refused when it is used', async () => {
    const features = await VideoFeatures.load(file);
    const zeros = (...dims: number[]) => {
      const count = dims.reduce((product, size) => product * size, 1);
      return { type: 'float32' as const, dims, data: new Float32Array(count) };
    };
    const narrow = { ...features, local: zeros(4, 6, 32), global: zeros(5, 32) };
    const { identity } = vlm.models.projector!;
    for (const projector of [undefined, identity])
      await expect(vlm.project(new VideoFeatures({ ...narrow, projector }))).rejects.toMatchObject({
        code: 'ERR_LONGVLM_MISMATCH',
      });
  });

  test.skipIf(process.platform === 'win32')('of terabytes of nothing is refused before they are read', async () => {
    const [frames, tokens] = [20, 2 ** 31];
    const sampling = JSON.stringify({
      ...JSON.parse(header.__metadata__.sampling as string),
      frames,
      tokensPerSegment: tokens,
    });
    const bytes = 4 * tokens * 64 * 4;
    const local = { dtype: 'F32', shape: [4, tokens, 64], data_offsets: [0, bytes] };
    const path = written(
      JSON.stringify({ __metadata__: { ...header.__metadata__, sampling }, local }),
      Buffer.alloc(0),
    );
    try {
      truncateSync(path, readFileSync(path).length + bytes);
    } catch {
      return; // The file system has no such files.
    }
    await expect(VideoFeatures.load(path)).rejects.toThrow(/values in 'local', above the limit/);
    truncateSync(path, 0);
  });

  test('in 500 variants at random is refused by one error, or works', async () => {
    let state = 1;
    const random = (below: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const texts = ['null', '-1', '1e999', '""', '[]', '{}', '"5"', 'true', '{"toString":1}', '9e15'];
    let loaded = 0;
    for (let round = 0; round < 500; round++) {
      const key = random(2) === 0 ? 'sampling' : 'video';
      const path = withRecord(key, (text) => {
        const names = [...text.matchAll(/"(\w+)":/g)].map(([, name]) => name!);
        const name = names[random(names.length)]!;
        if (random(3) > 0) return replaced(name, texts[random(texts.length)]!)(text);
        const at = random(text.length);
        return text.slice(0, at) + ['', '"', '}', '[', '9', '-', '\\'][random(7)] + text.slice(at + random(3));
      });
      try {
        const features = await VideoFeatures.load(path);
        loaded++;
        expect(await use(features)).not.toMatch(/NaN|undefined|\[object/);
      } catch (error) {
        if (!(error instanceof LongVLMError)) throw error;
      }
    }
    // Names and further keys may be anything.
    expect(loaded).toBeGreaterThan(5);
    expect(loaded).toBeLessThan(250);
  });
});

test.each<[string, (init: VideoFeatures) => object, RegExp]>([
  ['nothing', () => ({}), /^Expected object for sampling but received undefined/],
  ['no source', (init) => ({ ...init, source: undefined }), /^Expected object for source/],
  ['a source without a name', (init) => ({ ...init, source: { ...init.source, name: undefined } }), /for source\.name/],
  [
    'tokens of another shape',
    (init) => ({ ...init, local: init.global }),
    /^Expected shape \[4, 6, channels\] for local/,
  ],
  [
    'times that are a list',
    (init) => ({ ...init, timestamps: [...init.timestamps] }),
    /^Expected Float32Array for timestamps/,
  ],
  [
    'half of the times',
    (init) => ({ ...init, timestamps: init.timestamps.subarray(10) }),
    /^Expected 20 for timestamps\.length/,
  ],
])('VideoFeatures cannot be made of %s', async (_, change, message) => {
  const init = await VideoFeatures.load(file);
  expect(() => new VideoFeatures(change(init) as VideoFeatures)).toThrow(message);
});

test.skipIf(process.platform === 'win32')('a pipe is refused at once', async () => {
  const pipe = join(folder, 'pipe.safetensors');
  execFileSync('mkfifo', [pipe]);
  await expect(VideoFeatures.load(pipe)).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE' });
});
