// Videos and pictures of many containers, changed in bytes and in structure, and texts that name other files.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { probeVideo, readSegments } from 'longvlm';
import { partsOf } from '../containers.js';
import { mutateBytes, writeEdge } from '../mutate.js';
import { repositoryPath } from '../package.js';
import type { Random } from '../random.js';
import { type Files, type Target, WrongResult } from '../target.js';

// Made once: what one ffmpeg writes of this is always the same.
const folder = repositoryPath('build/fuzz/media');
const exact = ['-fflags', '+bitexact', '-flags', '+bitexact', '-threads', '1'];
const moving: Readonly<Record<string, readonly string[]>> = {
  'h264.mp4': ['-c:v', 'libx264', '-bf', '2', '-g', '8'],
  'fragments.mp4': ['-c:v', 'mpeg4', '-movflags', 'frag_keyframe+empty_moov', '-g', '4'],
  'h264.mkv': ['-c:v', 'libx264', '-g', '8'],
  'vp8.webm': ['-c:v', 'libvpx', '-b:v', '100k'],
  'vp9.webm': ['-c:v', 'libvpx-vp9', '-b:v', '100k', '-cpu-used', '8'],
  'mpeg4.avi': ['-c:v', 'mpeg4', '-bf', '1'],
  'mjpeg.avi': ['-c:v', 'mjpeg'],
  'mpeg2.ts': ['-c:v', 'mpeg2video'],
  'mpeg1.mpg': ['-c:v', 'mpeg1video'],
  'flv1.flv': ['-c:v', 'flv'],
  'theora.ogg': ['-c:v', 'libtheora'],
  'moving.gif': [],
  'moving.png': ['-f', 'apng'],
  'moving.webp': ['-c:v', 'libwebp_anim', '-f', 'webp'],
};
const still: Readonly<Record<string, readonly string[]>> = {
  'still.png': [],
  'still.jpg': [],
  'still.webp': ['-c:v', 'libwebp'],
  'still.bmp': [],
  'still.tif': [],
};

/** The picture beside the input that nothing may open: no other has its size. */
const secret = { name: 'secret.png', width: 123, height: 77 };

function make(name: string, source: string, args: readonly string[]): void {
  const path = join(folder, name);
  if (existsSync(path)) return;
  const part = join(folder, `part-${process.pid}-${name}`);
  try {
    const input = ['-v', 'error', '-f', 'lavfi', '-i', source];
    execFileSync(
      process.env.FFMPEG_PATH ?? 'ffmpeg',
      [...input, ...exact, '-pix_fmt', /gif|bmp|png/.test(name) ? 'rgb24' : 'yuv420p', ...args, '-y', part],
      { stdio: 'pipe' },
    );
    renameSync(part, path);
  } catch {
    // This ffmpeg has no such encoder: one container less.
  }
}

let originals: ReadonlyMap<string, Buffer> | undefined;

function prepare(): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, args] of Object.entries(moving)) make(name, 'testsrc=size=64x48:rate=10:duration=1.6', args);
  for (const [name, args] of Object.entries(still))
    make(name, 'testsrc=size=64x48:rate=10:duration=0.1', ['-frames:v', '1', ...args]);
  make(secret.name, `testsrc=size=${secret.width}x${secret.height}`, ['-frames:v', '1']);
  const names = [...Object.keys(moving), ...Object.keys(still)].filter((name) => existsSync(join(folder, name)));
  originals = new Map(names.map((name) => [name, readFileSync(join(folder, name))]));
}

function mutateMedia(original: Buffer, random: Random): Buffer {
  const parts = partsOf(original);
  if (parts.length === 0 || random.chance(0.4))
    return mutateBytes(original, random, random.chance(0.5) ? 200 : original.length);
  let bytes: Buffer = Buffer.from(original);
  const part = random.pick(parts);
  const other = random.pick(parts);
  random.pick([
    () => writeEdge(bytes, part.sizeAt, part.sizeBytes, part.littleEndian, random),
    () => original.copy(bytes, part.nameAt, other.nameAt, other.nameAt + other.nameBytes),
    () => {
      bytes = Buffer.concat([bytes.subarray(0, part.at), bytes.subarray(part.end)]);
    },
    () => {
      bytes = Buffer.concat([bytes.subarray(0, part.end), bytes.subarray(part.at)]);
    },
    () => {
      bytes = Buffer.concat([bytes.subarray(0, part.at), bytes.subarray(other.at, other.end), bytes.subarray(part.at)]);
    },
    // Within a small part, every number is looked at.
    () => {
      const content = Math.max(part.sizeAt + part.sizeBytes, part.nameAt + part.nameBytes);
      for (let left = random.between(1, 3); left > 0; left--)
        writeEdge(
          bytes,
          random.between(content, Math.max(content, part.end - 1)),
          random.pick([1, 2, 4, 8]),
          part.littleEndian,
          random,
        );
    },
    () => {
      bytes = bytes.subarray(0, part.at + random.below(part.end - part.at));
    },
  ])();
  return bytes;
}

// What ffmpeg takes for a list of other files, or for a drawing.
const texts: readonly string[] = [
  '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.png\n#EXT-X-ENDLIST\n',
  'ffconcat version 1.0\nfile secret.png\nduration 1\n',
  '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>secret.png</BaseURL></Representation></AdaptationSet></Period></MPD>',
  '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="64" height="48"><image xlink:href="secret.png" width="64" height="48"/></svg>',
  'RTSPtextRTSP://127.0.0.1:9/x',
  '[playlist]\nFile1=secret.png\nNumberOfEntries=1\n',
  'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n',
  'DWVIEW secret.png',
];

function files(random: Random): Files {
  if (!originals) prepare();
  const beside: Files = { [secret.name]: { link: join(folder, secret.name) } };
  if (random.chance(0.08)) {
    const text = Buffer.from(random.pick(texts));
    const ending = random.pick(['mp4', 'm3u8', 'ffconcat', 'mpd', 'svg', 'txt', 'sdp', 'png', 'mkv']);
    return { ...beside, [`upload.${ending}`]: random.chance(0.5) ? text : mutateBytes(text, random) };
  }
  const name = random.pick([...originals!.keys()]);
  const ending = random.chance(0.9)
    ? name.split('.')[1]!
    : random.pick(['mp4', 'mkv', 'avi', 'ts', 'png', 'tga', 'm3u8', 'h264']);
  const path = random.chance(0.95)
    ? `upload.${ending}`
    : random.pick([`s%d.${ending}`, `a:b.${ending}`, `-i.${ending}`, `é\n.${ending}`]);
  return { ...beside, [path]: mutateMedia(originals!.get(name)!, random) };
}

export const media: Target = {
  name: 'media',
  ...{ batch: 40, seconds: 30, megabytes: 1000, share: 3, argumentErrors: false },
  prepare: async () => prepare(),
  files,
  async run(where) {
    const name = readdirSync(where).find((each) => each !== secret.name)!;
    const info = await probeVideo(join(where, name));
    const { width, height, frameCount, durationSeconds } = info;
    if (width === secret.width && height === secret.height) throw new WrongResult('another file was opened');
    if (!Number.isSafeInteger(frameCount) || frameCount < 1) throw new WrongResult(`frameCount ${frameCount}`);
    if (!Number.isFinite(durationSeconds) || durationSeconds < 0)
      throw new WrongResult(`durationSeconds ${durationSeconds}`);
    const options = { frames: 4, segmentFrames: 2, geometry: { resize: 'crop', size: 16 } } as const;
    let segments = 0;
    let last = Number.NEGATIVE_INFINITY;
    for await (const { frames, timestamps, frameIndices } of readSegments(info, options)) {
      segments++;
      if (frames.length !== 2 * 16 * 16 * 3) throw new WrongResult(`${frames.length} bytes of frames`);
      for (const time of timestamps) {
        if (!(time >= last)) throw new WrongResult(`times ${timestamps} after ${last}`);
        last = time;
      }
      for (const index of frameIndices)
        if (!(index >= 0 && index < frameCount)) throw new WrongResult(`frame ${index} of ${frameCount}`);
    }
    if (segments !== 2) throw new WrongResult(`${segments} segments`);
  },
};
