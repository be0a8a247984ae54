// Uploads that are lists of other files: one file is read, whatever it says.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openVideo } from '../../dist/video/openVideo.js';
import { probeVideo } from '../../dist/video/probe.js';
import type { VideoInput } from '../../dist/video/videoInput.js';
import { ffmpeg, folder, h264, make, pattern, run } from '../unit/video/videoFiles.js';

/** The file that no upload may open: in a size that nothing else has. */
const secret = make('secret.ts', ...pattern(1, '48x80'), ...h264);

/** Whether the secret was read since {@link hide}. */
const wasRead = () => statSync(secret).atimeMs > 1000;
const hide = () => utimesSync(secret, 0, statSync(secret).mtime);

/** Counts requests, and serves {@link upload}. */
let server: Server;
let upload = Buffer.alloc(0);
let strangers = 0;
let origin = '';

beforeAll(async () => {
  server = createServer((request, response) => {
    if (request.url === '/upload.mp4') response.end(upload);
    else {
      strangers++;
      response.end(readFileSync(secret));
    }
  });
  await new Promise<void>((fulfil) => server.listen(0, '127.0.0.1', fulfil));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => new Promise((fulfil) => server.close(fulfil)));

const hls = (file: string) => `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n${file}\n#EXT-X-ENDLIST\n`;
const dash = (file: string) =>
  `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet contentType="video"><Representation id="0" mimeType="video/mp4" bandwidth="1000"><BaseURL>${file}</BaseURL><SegmentList><SegmentURL media="${file}"/></SegmentList></Representation></AdaptationSet></Period></MPD>`;

/** Text that names other files, in every such format that ffmpeg recognises by itself. */
const lists: Record<string, (file: string) => string> = {
  hls,
  'hls, a list of lists': (file) => `#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\n${file}\n`,
  'hls, still going on': (file) => `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n${file}\n`,
  'hls, with a key': (file) => hls(file).replace('#EXTINF', `#EXT-X-KEY:METHOD=AES-128,URI="${file}"\n#EXTINF`),
  concat: (file) => `ffconcat version 1.0\nfile '${file}'\n`,
  dash,
  imf: (file) =>
    `<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>urn:uuid:0</Id><Path>${file}</Path></CompositionPlaylist>`,
  sdp: () =>
    'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 45678 RTP/AVP 96\na=rtpmap:96 H264/90000\n',
  ffmetadata: (file) => `;FFMETADATA1\ntitle=${file}\n`,
  tedcaptions: (file) => `{"captions":[{"duration":1000,"content":"${file}","startOfParagraph":true,"startTime":0}]}`,
  avisynth: (file) => `DirectShowSource("${file}")\n`,
  'asx, smil and ram': (file) => `<asx version="3.0"><entry><ref href="${file}"/></entry></asx>\n${file}\n`,
  svg: (file) =>
    `<svg xmlns="http://www.w3.org/2000/svg" width="48" height="80"><image href="file://${file}" width="48" height="80"/></svg>`,
};

async function refuses(input: VideoInput): Promise<string> {
  const video = await openVideo(input);
  try {
    const error = await video.probe().then(
      () => undefined,
      (error: unknown) => error as Error & { code: string },
    );
    expect(error).toMatchObject({ name: 'LongVLMError', code: 'ERR_LONGVLM_VIDEO' });
    return error!.message;
  } finally {
    await video.dispose();
  }
}

describe('a list opens nothing else', () => {
  test.each(Object.entries(lists))('%s', async (_, text) => {
    hide();
    for (const file of [secret, `${origin}/secret.ts`]) {
      upload = Buffer.from(text(file));
      const path = join(folder, 'upload.mp4');
      writeFileSync(path, upload);
      await refuses(path);
      if (file === secret) await refuses(upload);
      if (file === secret) await refuses(`${origin}/upload.mp4`);
    }
    expect(wasRead()).toBe(false);
    expect(strangers).toBe(0);
  });

  test('the error names the format and the remedy', async () => {
    expect(await refuses(Buffer.from(hls(secret)))).toMatch(/in the format hls, a list .*local path.*limit lists/);
  });

  test('every format that ffmpeg calls a list is among those tried', () => {
    const text = execFileSync(ffmpeg.path, ['-hide_banner', '-demuxers'], { encoding: 'utf8' });
    const found = [...text.matchAll(/^ D\S* +(\S+) +(.*)$/gm)]
      .filter(([, , name]) => /list|manifest|concat|script|dash|HLS|SDP|IMF|metadata|captions/i.test(name!))
      .map(([, format]) => format!);
    const tried = Object.keys(lists).map((name) => name.split(',')[0]!);
    // These are read only where they are named.
    const unasked = ['webm_dash_manifest', 'vapoursynth', 'lavfi'];
    // Not lists of files: text with pictures of its own, or sound.
    const others = ['gif', 'jacosub', 'wsaud', 'scd', 'mpegts', 'mpegtsraw', 'jpegxl_anim', 'sbg', 'scc'];
    expect(found.filter((format) => ![...tried, ...unasked, ...others].includes(format))).toEqual([]);
  });
});

test('a list is read on request, at a local path only', async () => {
  const path = join(folder, 'list.txt');
  writeFileSync(path, lists.concat!('secret.ts'));
  hide();
  const info = await probeVideo(path, { limits: { lists: true } });
  expect(info).toMatchObject({ width: 48, height: 80, frameCount: 25, container: 'concat' });
  // Otherwise the tests above would see nothing.
  expect(wasRead()).toBe(true);
  const video = await openVideo(readFileSync(path), { limits: { lists: true } });
  try {
    await expect(video.probe()).rejects.toMatchObject({ code: 'ERR_LONGVLM_VIDEO' });
  } finally {
    await video.dispose();
  }
});

test('a QuickTime file whose track lies in another file', async () => {
  const path = join(folder, 'outside.mov');
  run(...pattern(1, '32x32'), ...h264, '-f', 'mov', `file:${path}`);
  writeFileSync(path, withAlias(readFileSync(path), secret));
  hide();
  await openVideo(path).then(async (video) => {
    await video.probe().catch((error: unknown) => expect(error).toMatchObject({ name: 'LongVLMError' }));
    await video.dispose();
  });
  expect(wasRead()).toBe(false);
});

/** The file with its media reference replaced by an alias to `other`. Its `moov` must come last. */
function withAlias(bytes: Buffer, other: string): Buffer {
  const at = bytes.indexOf('dref') + 12;
  expect(bytes.readUInt32BE(at)).toBe(12);
  const name = Buffer.from(other);
  const fields = Buffer.alloc(4 + name.length + (name.length % 2));
  fields.writeUInt16BE(2, 0);
  fields.writeUInt16BE(name.length, 2);
  name.copy(fields, 4);
  const alias = Buffer.concat([
    Buffer.alloc(12),
    Buffer.alloc(10 + 28 + 12 + 64 + 16 + 4 + 16),
    fields,
    Buffer.alloc(4, 255),
  ]);
  alias.writeUInt32BE(alias.length, 0);
  alias.write('alis', 4);
  // One level up and one down: such are followed.
  alias.writeUInt16BE(1, 12 + 130);
  alias.writeUInt16BE(1, 12 + 132);
  const larger = Buffer.concat([bytes.subarray(0, at), alias, bytes.subarray(at + 12)]);
  for (const box of ['moov', 'trak', 'mdia', 'minf', 'dinf', 'dref']) {
    const place = larger.lastIndexOf(box, at) - 4;
    larger.writeUInt32BE(larger.readUInt32BE(place) + alias.length - 12, place);
  }
  return larger;
}

describe('a name is no pattern', () => {
  const still = (name: string, size: string) => {
    run('-f', 'lavfi', '-i', `color=red:s=${size}`, '-frames:v', '1', '-update', '1', join(folder, `still.${name}`));
    return join(folder, `still.${name}`);
  };

  test.each(['png', 'tga'])('of pictures in %s: numbers, globs and brackets', async (ending) => {
    const [own, other] = [readFileSync(still(ending, '16x24')), still(ending, '40x40')];
    for (const name of ['s%d', 's%03d', 's*', 's{1,0}', '[1]']) {
      const path = join(folder, `${name}.${ending}`);
      for (const beside of ['s0', 's1', 's000', '1']) copyFileSync(other, join(folder, `${beside}.${ending}`));
      writeFileSync(path, own);
      expect(await probeVideo(path), name).toMatchObject({ width: 16, height: 24, frameCount: 1, kind: 'image' });
    }
  });

  test('also in the name of a folder, and of an animation', async () => {
    const place = join(folder, 'f%d[1]');
    mkdirSync(place);
    const animation = make('animation.png', ...pattern(1, '16x16', 4), '-f', 'apng');
    copyFileSync(animation, join(place, 'a[1].png'));
    expect(await probeVideo(join(place, 'a[1].png'))).toMatchObject({ width: 16, frameCount: 4, kind: 'video' });
  });
});
