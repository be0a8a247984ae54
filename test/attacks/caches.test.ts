// Caches in folders of others, with things of others in them, and videos that are exchanged.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryPath } from '../../dist/base/temporaryName.js';
import { writeWholeFile } from '../../dist/base/wholeFile.js';
import { listWeights } from '../../dist/cache/weightsCache.js';
import { withoutQuantization } from '../../dist/cache/withoutQuantization.js';
import { openWeights } from '../../dist/files/openWeights.js';
import { FeaturesCache, VideoEncoder, VideoFeatures } from '../../dist/index.js';
import { longvlm, start } from '../fixtures/commandLine.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';
import { h264, make, pattern } from '../unit/video/videoFiles.js';

const unix = process.platform !== 'win32';
const folder = await temporaryFolder();
let made = 0;
function newFolder(): string {
  const place = join(folder, `${made++}`);
  mkdirSync(place);
  return place;
}
// Whole seconds, which every file system keeps.
const longAgo = new Date(Math.floor(Date.now() / 1000 - 48 * 3600) * 1000);
/** A file or folder that was last used long ago. */
function old(path: string, content?: string): string {
  if (content === undefined) mkdirSync(path);
  else writeFileSync(path, content);
  utimesSync(path, longAgo, longAgo);
  return path;
}
const tree = (place: string) =>
  execFileSync('find', ['.', '-printf', '%P %y %s %T@ %l\n'], { cwd: place, encoding: 'utf8' }).split('\n').sort();

let encoder: VideoEncoder;
let plain: VideoFeatures;
let other: string;
beforeAll(async () => {
  const { projector: _, llm: __, ...vision } = picoOptions;
  encoder = await VideoEncoder.create({ ...vision, frames: 10 });
  plain = await encoder.encode(pico.video);
  other = make('other.mp4', ...pattern(10, '128x96'), ...h264);
});
afterAll(() => encoder.dispose());

describe('a cache in a folder of the user', () => {
  test('is refused, by every way to name one, and the folder stays as it is', async () => {
    const place = newFolder();
    const [videos, weights] = ['videos', 'weights'].map((name) => join(place, name)) as [string, string];
    for (const into of [place, videos, weights]) {
      mkdirSync(into, { recursive: true });
      for (const name of ['model.safetensors', 'draft.tmp', 'x.safetensors.abc.tmp', `${'a'.repeat(63)}.safetensors`])
        old(join(into, name), 'mine');
    }
    const before = tree(place);
    const refused = {
      name: 'LongVLMError',
      code: 'ERR_LONGVLM_FILE',
      message: expect.stringMatching(/is no cache: it holds other files, such as /),
    };
    await expect(FeaturesCache.open(place)).rejects.toMatchObject(refused);
    const env = { LONGVLM_CACHE: place };
    for (const command of ['ls', 'clear']) {
      const { code, stderr } = await start(['cache', command], env).result;
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(/is no cache: .* Set LONGVLM_CACHE to another folder.*\n$/),
      ]);
    }
    const cached = process.env.LONGVLM_CACHE;
    process.env.LONGVLM_CACHE = place;
    try {
      await expect(encoder.encode(pico.video, { cache: true })).rejects.toMatchObject(refused);
      const quantized = new URL('../fixtures/gguf/quantized.gguf', import.meta.url).pathname;
      await expect(openWeights(quantized).then((file) => withoutQuantization(file))).rejects.toMatchObject(refused);
      expect(await listWeights()).toEqual([]);
    } finally {
      process.env.LONGVLM_CACHE = cached;
    }
    expect(tree(place)).toEqual(before);
  });

  test.skipIf(!unix)('that was a cache before: eviction and clear touch nothing but what is ours', async () => {
    const place = newFolder();
    const cache = await FeaturesCache.open(place, 1);
    await encoder.encode(pico.video, { cache });
    const [first] = readdirSync(place) as [string];
    const elsewhere = newFolder();
    const precious = old(join(elsewhere, 'precious.safetensors'), 'mine');
    const hash = (digit: string) => join(place, `${digit.repeat(64)}.safetensors`);
    const kept = [
      old(join(place, 'model.safetensors'), 'mine'),
      old(join(place, 'draft.tmp'), 'mine'),
      old(join(place, `${first}.bak`), 'mine'),
      // A name of ours, without our mark.
      old(hash('0'), 'mine'),
      old(join(place, 'yarn.lock'), 'mine'),
      old(`${hash('1')}.lock`, 'a lockfile of mine'),
      old(`${hash('2')}.lock`),
      old(join(place, 'package.lock')),
      old(join(place, 'line\nbreak \u202e.safetensors'), 'mine'),
    ];
    writeFileSync(join(`${hash('2')}.lock`, 'inside'), 'mine');
    utimesSync(`${hash('2')}.lock`, longAgo, longAgo);
    for (const link of [hash('3'), `${hash('4')}.0123456789ab.tmp`, `${hash('5')}.lock`]) {
      symlinkSync(link.endsWith('.lock') ? elsewhere : precious, link);
      kept.push(link);
    }
    await encoder.encode(pico.video, { cache, sampling: { resize: 'pad' } });
    // The one before was evicted.
    expect(readdirSync(place)).not.toContain(first);
    expect(await cache.list()).toHaveLength(1);
    expect(await cache.clear()).toHaveLength(1);
    expect(readdirSync(place).sort()).toEqual(kept.map((path) => basename(path)).sort());
    expect(readFileSync(precious, 'utf8')).toBe('mine');
    expect(statSync(precious).mtimeMs).toBe(longAgo.getTime());
    expect(readdirSync(`${hash('2')}.lock`)).toEqual(['inside']);
  });

  test.skipIf(!unix)(
    'whose entry is a link, a pipe or a folder still gives the features, and waits for nothing',
    async () => {
      const place = newFolder();
      const cache = await FeaturesCache.open(place);
      await encoder.encode(pico.video, { cache });
      const [name] = readdirSync(place) as [string];
      const entry = join(place, name);
      const away = join(newFolder(), 'away.safetensors');
      renameSync(entry, away);
      utimesSync(away, longAgo, longAgo);
      for (const put of [
        () => symlinkSync(away, entry),
        () => execFileSync('mkfifo', [entry]),
        () => mkdirSync(entry),
      ]) {
        rmSync(entry, { recursive: true, force: true });
        put();
        expect((await encoder.encode(pico.video, { cache })).local).toEqual(plain.local);
      }
      expect(statSync(away).mtimeMs).toBe(longAgo.getTime());
    },
  );

  test('whose lock is a file of the user: goes without it, and leaves it', async () => {
    const place = newFolder();
    const cache = await FeaturesCache.open(place);
    await encoder.encode(pico.video, { cache });
    const [name] = readdirSync(place) as [string];
    rmSync(join(place, name));
    old(join(place, `${name}.lock`), 'mine, and long');
    await encoder.encode(pico.video, { cache });
    expect(readdirSync(place).sort()).toEqual([name, `${name}.lock`]);
  });
});

describe('a video that is exchanged', () => {
  /** Encodes a copy of the video, which becomes another one at a certain moment. */
  async function exchanged(at: 'hashed' | 'encoding', exchange: (file: string) => void) {
    const place = newFolder();
    const file = join(newFolder(), 'upload.mp4');
    copyFileSync(pico.video, file);
    const cache = await FeaturesCache.open(place);
    let probes = 0;
    const features = await encoder.encode(file, {
      cache,
      onProgress: ({ stage, done }) => {
        // The first is told before the file is read.
        const now = at === 'hashed' ? stage === 'probe' && ++probes === 2 : stage === 'encode' && done === 5;
        if (now) exchange(file);
      },
    });
    return { cache, place, features };
  }
  const byRename = (file: string) => {
    copyFileSync(other, `${file}.new`);
    renameSync(`${file}.new`, file);
  };

  test.each([
    ['after it was hashed', 'hashed', byRename],
    ['while it is encoded', 'encoding', byRename],
    ['in place', 'hashed', (file: string) => copyFileSync(other, file)],
    [
      'in place, with its time set back',
      'hashed',
      (file: string) => {
        const { atime, mtime } = statSync(file);
        copyFileSync(other, file);
        utimesSync(file, atime, mtime);
      },
    ],
    [
      'and exchanged back',
      'hashed',
      (file: string) => {
        renameSync(file, `${file}.mine`);
        copyFileSync(other, file);
        renameSync(`${file}.mine`, file);
      },
    ],
  ] as const)('%s is not kept under the name of the other', async (_, at, exchange) => {
    const { cache, place } = await exchanged(at, exchange);
    expect(readdirSync(place)).toEqual([]);
    expect((await encoder.encode(pico.video, { cache })).local).toEqual(plain.local);
  });

  test('is told, also without a cache', async () => {
    const told =
      "'upload.mp4' was changed while it was read, and its frames may be of either version. Encode it again.";
    expect((await exchanged('encoding', byRename)).features.source.warnings).toContain(told);
    expect(
      (await exchanged('encoding', (file) => copyFileSync(file, `${file}.copy`))).features.source.warnings,
    ).toEqual([]);
  });

  test('a picture of a list, too', async () => {
    const place = newFolder();
    const pictures = ['a.png', 'b.png'].map((name, i) =>
      make(`${name.slice(0, 1)}${made}.png`, ...pattern(1 + i, '128x96', 1), '-frames:v', '1'),
    );
    const cache = await FeaturesCache.open(place);
    let probes = 0;
    await encoder.encode(
      { frames: pictures },
      {
        cache,
        sampling: { frames: 5, segmentFrames: 5 },
        onProgress: ({ stage }) => {
          if (stage === 'probe' && ++probes === 2) copyFileSync(pictures[0]!, pictures[1]!);
        },
      },
    );
    expect(readdirSync(place)).toEqual([]);
  });
});

test('nothing that is kept or saved holds the folder of the video', async () => {
  const home = join(newFolder(), "alice's $& (secret)");
  mkdirSync(home);
  const file = join(home, 'talk.mkv');
  copyFileSync(make('talk.mkv', ...pattern(4, '128x96'), ...h264), file);
  truncateSync(file, Math.floor(statSync(file).size * 0.6));
  const place = newFolder();
  const cache = await FeaturesCache.open(place);
  const { source } = await encoder.encode(file, { cache });
  expect(source.warnings.join()).toMatch(/'talk\.mkv' is damaged or cut short/);
  const output = join(place, 'talk.safetensors');
  expect(
    (
      await longvlm(
        'encode',
        file,
        '-o',
        output,
        '--vision',
        pico.clip,
        '--frames',
        '20',
        '--segment-frames',
        '5',
        '--merge-tokens',
        '6',
        '--no-cache',
      )
    ).code,
  ).toBe(0);
  expect(readdirSync(place)).toHaveLength(2);
  for (const name of readdirSync(place)) {
    const bytes = readFileSync(join(place, name));
    for (const trace of ['alice', 'secret', folder, hostname()]) expect(bytes.includes(trace), trace).toBe(false);
  }
  // Another person's copy, by another name.
  const copy = join(newFolder(), 'mine.mkv');
  copyFileSync(file, copy);
  const [warning] = (await encoder.encode(copy, { cache })).source.warnings;
  expect(warning).toMatch(/^'mine\.mkv' is damaged/);
  expect(warning).not.toContain('talk');
});

describe('what a killed process left beside an output', () => {
  /** A temporary file as a process makes it that is killed then. */
  function leftBeside(path: string): string {
    const script = `import { temporaryPath } from ${JSON.stringify(new URL('../../dist/base/temporaryName.js', import.meta.url).href)};
      import { writeFileSync } from 'node:fs';
      const left = temporaryPath(${JSON.stringify(path)});
      writeFileSync(left, 'half');
      console.log(left);
      process.kill(process.pid, 'SIGKILL');`;
    return spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).stdout.trim();
  }

  test('is removed by the next writer of the same output, and nothing else is', async () => {
    const place = newFolder();
    const [output, another] = [join(place, 'a.json'), join(place, 'a.json.b')];
    const gone = leftBeside(output);
    const ofAnother = leftBeside(another);
    const living = temporaryPath(output);
    const foreign = join(place, 'a.json.longvlm-00000000-1-abc-0123456789ab.tmp');
    const others = [living, foreign, `${output}.tmp`, `${output}.0123456789ab.tmp`, ofAnother];
    for (const file of others.slice(0, 4)) writeFileSync(file, 'not to be touched');
    expect(lstatSync(gone).size).toBe(4);
    await writeWholeFile(output, (handle) => handle.writeFile('whole'));
    expect(readdirSync(place).sort()).toEqual([output, ...others].map((file) => basename(file)).sort());
    // The process of another host, which has been silent for a day.
    utimesSync(foreign, longAgo, longAgo);
    await writeWholeFile(output, (handle) => handle.writeFile('whole'));
    expect(readdirSync(place)).not.toContain(basename(foreign));
  });

  test.skipIf(!unix)('is a file: what a link of that name leads to stays', async () => {
    const place = newFolder();
    const output = join(place, 'a.json');
    const gone = leftBeside(output);
    rmSync(gone);
    const precious = old(join(place, 'precious'), 'mine');
    symlinkSync(precious, gone);
    await writeWholeFile(output, (handle) => handle.writeFile('whole'));
    expect(readlinkSync(gone)).toBe(precious);
    expect(readFileSync(precious, 'utf8')).toBe('mine');
  });

  test('is not what others write at this moment: the last to end wins, whole', async () => {
    const place = newFolder();
    const output = join(place, 'a.json');
    const texts = Array.from({ length: 10 }, (_, i) => String(i).repeat(100_000));
    await Promise.all(texts.map((text) => writeWholeFile(output, (handle) => handle.writeFile(text))));
    expect(texts).toContain(readFileSync(output, 'utf8'));
    expect(readdirSync(place)).toEqual(['a.json']);
  });

  test('fits beside the longest name that there is', async () => {
    const output = join(newFolder(), `${'n'.repeat(250)}.json`);
    const gone = leftBeside(output);
    await writeWholeFile(output, (handle) => handle.writeFile('whole'));
    expect(readdirSync(join(output, '..'))).toEqual([basename(output)]);
    expect(gone).not.toBe('');
  });
});

describe('an output', () => {
  const save = (file: string) => plain.save(file);

  test.skipIf(!unix)('that is a pipe, a folder or another file is refused, and stays', async () => {
    const place = newFolder();
    const inPlace = (name: string) => join(place, name);
    execFileSync('mkfifo', [inPlace('pipe.safetensors')]);
    mkdirSync(inPlace('folder.safetensors'));
    writeFileSync(inPlace('weights.safetensors'), readFileSync(pico.projector));
    symlinkSync('/dev/null', inPlace('null.safetensors'));
    symlinkSync('circle.safetensors', inPlace('circle.safetensors'));
    const before = tree(place);
    const cases: [string, RegExp][] = [
      ['pipe', /is a named pipe, not a file\. Choose another name/],
      ['folder', /is a folder, not a file\. Choose another name/],
      ['null', /is a device or socket, not a file\. Choose another name/],
      ['circle', /cannot be used: its links lead in a circle\. Check/],
      ['weights', /exists and holds no video features, so it is not replaced\. Remove it/],
    ];
    await Promise.all(
      cases.map(async ([name, message]) => {
        const file = inPlace(`${name}.safetensors`);
        const says = expect.stringMatching(message);
        await expect(save(file)).rejects.toMatchObject({ code: 'ERR_LONGVLM_FILE', message: says });
        // Before anything is loaded, as models named here are none.
        const { code, stderr } = await longvlm('encode', pico.video, '-o', file, '--vision', '/no/models');
        expect([code, stderr]).toEqual([1, says]);
      }),
    );
    expect(tree(place)).toEqual(before);
  });

  test.skipIf(!unix)('that cannot be read is refused, and stays', () => {
    const script = join(newFolder(), 'script.mjs');
    const at = (module: string) => JSON.stringify(new URL(`../../dist/${module}`, import.meta.url).href);
    writeFileSync(
      script,
      `import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
      import { tmpdir } from 'node:os';
      import { join } from 'node:path';
      import { VideoFeatures } from ${at('encode/videoFeatures.js')};
      import { savePredictions } from ${at('eval/predictions.js')};
      import { ResumeFile } from ${at('eval/resumeFile.js')};
      const place = mkdtempSync(join(tmpdir(), 'longvlm-'));
      chmodSync(place, 0o777);
      const file = (name, mode) => {
        writeFileSync(join(place, name), 'mine');
        chmodSync(join(place, name), mode);
        return join(place, name);
      };
      const tensor = (...dims) => ({ type: 'float32', data: new Float32Array(dims.reduce((a, b) => a * b)), dims });
      const features = new VideoFeatures({
        ...{ local: tensor(1, 1, 1), global: tensor(0, 1), sizes: tensor(1, 1), timestamps: new Float32Array(1), tower: 't' },
        source: { name: 'v', durationSeconds: 1, frameCount: 1, width: 1, height: 1, warnings: [] },
        sampling: { frames: 1, segmentFrames: 1, tokensPerSegment: 1, globalLayers: 0, resize: 'crop', reduction: 'merge' },
      });
      const tries = [
        [file('a.safetensors', 0), (path) => features.save(path)],
        [file('a.json', 0), (path) => savePredictions(path, [])],
        [file('a.jsonl', 0o222), (path) => ResumeFile.open(path, { dataset: 'd', model: 'm', settings: 's' }, [])],
      ];
      // Root may read everything.
      const isRoot = process.geteuid() === 0;
      if (isRoot) process.seteuid(65534);
      for (const [path, attempt] of tries) console.log(await attempt(path).then(() => 'done', ({ message }) => message));
      if (isRoot) process.seteuid(0);
      for (const [path] of tries) {
        chmodSync(path, 0o600);
        console.log(readFileSync(path, 'utf8'));
      }
      rmSync(place, { recursive: true });`,
    );
    const { stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
    const lines = stdout.trim().split('\n');
    expect([lines.slice(3), stderr]).toEqual([['mine', 'mine', 'mine'], '']);
    for (const line of lines.slice(0, 3)) expect(line).toMatch(/a\.\w+ cannot be used: permission denied\. Check/);
  });

  test('that is empty or holds features is replaced', async () => {
    const file = join(newFolder(), 'a.safetensors');
    writeFileSync(file, '');
    await save(file);
    truncateSync(file, 500);
    await save(file);
    expect((await VideoFeatures.load(file)).source.name).toBe('video.mp4');
  });

  test('that is the input is refused', async () => {
    const file = join(newFolder(), 'video.safetensors');
    copyFileSync(pico.video, file);
    const { code, stderr } = await longvlm('encode', file, '-o', file, '--vision', '/no/models');
    expect([code, stderr]).toEqual([1, expect.stringMatching(/is the input itself\. Choose another name/)]);
    expect(readFileSync(file)).toEqual(readFileSync(pico.video));
  });

  test('in a folder that is missing, or none, says so', async () => {
    const place = newFolder();
    writeFileSync(join(place, 'file'), '');
    await expect(save(join(place, 'no', 'a.safetensors'))).rejects.toThrow(
      /cannot be written: its folder does not exist \(.*no\)\. Make it/,
    );
    await expect(save(join(place, 'file', 'a.safetensors'))).rejects.toThrow(
      /cannot be written: its folder is none \(.*file\)/,
    );
  });
});
