import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { probeVideo } from '../../../dist/video/probe.js';
import { decodeAll, folder, h264, make, passthrough, pattern, picoVideo, turned } from './videoFiles.js';

describe('probeVideo()', () => {
  test('describes a video', async () => {
    expect(await probeVideo(picoVideo)).toMatchObject({
      path: picoVideo,
      kind: 'video',
      durationSeconds: 20.16,
      frameCount: 252,
      frameRate: 12.5,
      variableFrameRate: false,
      width: 128,
      height: 96,
      rotation: 0,
      codec: 'h264',
      container: 'mov,mp4,m4a,3gp,3g2,mj2',
      warnings: [],
    });
  });

  test.each([
    ['B-frames', 'b.mp4', [...pattern(4), ...h264, '-bf', '3', '-g', '20']],
    ['a transport stream that starts late', 'late.ts', [...pattern(2), ...h264, '-bf', '2', '-g', '20']],
    ['AVI with B-frames, whose packets lack times', 'b.avi', [...pattern(2), '-c:v', 'mpeg4', '-bf', '2']],
    [
      'VP8, some of whose packets are never shown',
      'alt.webm',
      [...pattern(2), '-c:v', 'libvpx', '-deadline', 'realtime', '-auto-alt-ref', '1', '-lag-in-frames', '16'],
    ],
  ])('counts the frames of %s', async (_, name, args) => {
    const { frameCount } = await probeVideo(make(name, ...args));
    expect(frameCount).toBe(decodeAll(join(folder, name)).length / (64 * 48 * 3));
  });

  test('leaves out what an edit list hides', async () => {
    const whole = make('b.mp4', ...pattern(4), ...h264, '-bf', '3', '-g', '20');
    const path = make('edited.mp4', '-ss', '1.5', '-i', whole, '-c', 'copy');
    const { frameCount, durationSeconds } = await probeVideo(path);
    expect(frameCount).toBe(decodeAll(path).length / (64 * 48 * 3));
    // Frame 37.5 of 100 is where it starts.
    expect(frameCount).toBe(62);
    expect(durationSeconds).toBeCloseTo(62 / 25, 6);
  });

  test('tells uneven frames', async () => {
    const path = make(
      'uneven.mp4',
      ...['-f', 'lavfi', '-i', "testsrc2=s=64x48:r=25:d=4,select='not(mod(n,7))+not(mod(n,3))'"],
      ...[...passthrough, ...h264],
    );
    const { variableFrameRate, frameCount, durationSeconds } = await probeVideo(path);
    expect(variableFrameRate).toBe(true);
    expect(frameCount).toBe(44);
    expect(durationSeconds).toBeGreaterThan(3.9);
  });

  test.each([90, 180, 270] as const)('sees a rotation by %i degrees', async (degrees) => {
    const upright = make('b.mp4', ...pattern(4), ...h264, '-bf', '3', '-g', '20');
    const info = await probeVideo(turned(upright, degrees));
    expect(info).toMatchObject({ rotation: degrees, width: 64, height: 48 });
  });

  test('takes the largest moving picture, not the cover', async () => {
    const cover = make('cover.png', ...pattern(0.04, '320x240'), '-frames:v', '1');
    const small = make('small.mp4', ...pattern(1, '32x24'), ...h264);
    const large = make('b.mp4', ...pattern(4), ...h264, '-bf', '3', '-g', '20');
    const path = make(
      'several.mp4',
      ...['-i', small, '-i', large, '-i', cover, '-map', '0', '-map', '1', '-map', '2', '-c', 'copy'],
      ...['-disposition:v:2', 'attached_pic'],
    );
    expect(await probeVideo(path)).toMatchObject({ width: 64, height: 48, frameCount: 100 });
  });

  test.each(['png', 'jpg', 'webp', 'bmp'])('takes a %s picture as a video of one frame', async (type) => {
    const path = make(`still.${type}`, ...pattern(0.04, '50x30'), '-frames:v', '1');
    expect(await probeVideo(path)).toMatchObject({
      kind: 'image',
      frameCount: 1,
      durationSeconds: 0,
      frameRate: 0,
      width: 50,
      height: 30,
    });
  });

  test('takes the video rather than a larger preview of one picture, or what is shown by default', async () => {
    const preview = make('preview.jpg', ...pattern(0.04, '320x240'), '-frames:v', '1');
    const large = make('large.mp4', ...pattern(0.4, '96x64'), ...h264);
    const small = make('small.mp4', ...pattern(1, '32x24'), ...h264);
    const copied = ['-map', '0', '-map', '1', '-c', 'copy'];
    const previewed = make('previewed.mkv', '-i', preview, '-i', small, ...copied);
    expect(await probeVideo(previewed)).toMatchObject({ width: 32, frameCount: 25 });
    const shown = ['-disposition:v:0', '0', '-disposition:v:1', 'default'];
    const chosen = make('default.mkv', '-i', large, '-i', small, ...copied, ...shown);
    expect(await probeVideo(chosen)).toMatchObject({ width: 32, frameCount: 25 });
  });

  test('waits for a picture that comes late', async () => {
    const sound = ['-f', 'lavfi', '-i', 'anoisesrc=d=9', '-c:a', 'mp2'];
    const whole = make('whole.ts', '-itsoffset', '8', ...pattern(0.4), ...sound, ...h264, '-max_interleave_delta', '0');
    expect(await probeVideo(whole)).toMatchObject({ width: 64, height: 48, frameCount: 10 });
  });

  test.each(['1x8', '8x1', '1x1'])('takes a picture of %s with fewer colours than brightnesses', async (size) => {
    const scale = ['-vf', `scale=${size.replace('x', ':')},format=yuvj420p`];
    const path = make(`${size}.jpg`, ...pattern(0.04), ...scale, '-frames:v', '1');
    const { width, height, frameCount } = await probeVideo(path);
    expect(`${width}x${height}`).toBe(size);
    expect(frameCount).toBe(1);
  });

  test('says that a WebP is animated', async () => {
    const path = make('moves.webp', ...pattern(0.4), '-c:v', 'libwebp_anim');
    // Newer versions of ffmpeg can decode it.
    const outcome = await probeVideo(path).catch((error: Error) => error.message);
    expect(outcome).toEqual(expect.toSatisfy((got) => got.frameCount === 10 || /is an animated WebP/.test(got)));
  });

  test.each(['-y.mp4', 'http:x.mp4', 'concat:a|b.mp4', "it's [é] %d.mp4"])(
    'takes the name %s as it is',
    async (name) => {
      copyFileSync(picoVideo, join(folder, name));
      expect((await probeVideo(join(folder, name))).frameCount).toBe(252);
    },
  );

  test('takes one picture whose name looks like a sequence', async () => {
    const path = join(folder, 'p%03d.png');
    copyFileSync(make('still.png', ...pattern(0.04, '50x30'), '-frames:v', '1'), path);
    copyFileSync(path, join(folder, 'p000.png'));
    copyFileSync(path, join(folder, 'p001.png'));
    expect((await probeVideo(path)).frameCount).toBe(1);
  });

  test('rejects wrong arguments', async () => {
    await expect(probeVideo(5 as never)).rejects.toThrow(TypeError);
    await expect(probeVideo('')).rejects.toThrow(RangeError);
    await expect(probeVideo('a.mp4', { ffmpeg: 1 as never })).rejects.toThrow(/string for ffmpeg but received 1/);
    await expect(probeVideo('a.mp4', { signal: {} as never })).rejects.toThrow(/AbortSignal for signal/);
  });

  test.each(['', 'frag_keyframe+empty_moov'])('refuses an encrypted MP4 %s', async (movflags) => {
    const plain = make('b.mp4', ...pattern(4), ...h264, '-bf', '3', '-g', '20');
    const key = ['-encryption_key', '00112233445566778899aabbccddeeff', '-encryption_kid', '0'.repeat(32)];
    const options = ['-encryption_scheme', 'cenc-aes-ctr', ...key, ...(movflags ? ['-movflags', movflags] : [])];
    const path = make(`encrypted${movflags}.mp4`, '-i', plain, '-c', 'copy', ...options);
    await expect(probeVideo(path)).rejects.toMatchObject({
      code: 'ERR_LONGVLM_VIDEO',
      message: expect.stringMatching(/is encrypted: its pictures cannot be decoded\. Give a copy without/),
    });
  });

  test('reads an MP4 of which only the sound is encrypted', async () => {
    const path = make('sound.mp4', ...pattern(1), '-f', 'lavfi', '-i', 'sine=d=1', ...h264, '-c:a', 'aac');
    const bytes = readFileSync(path);
    bytes.write('enca', bytes.indexOf('mp4a'));
    const copy = join(folder, 'sound-encrypted.mp4');
    writeFileSync(copy, bytes);
    expect(await probeVideo(copy)).toMatchObject({ frameCount: 25, warnings: [] });
  });

  test('refuses a scrambled transport stream', async () => {
    const bytes = readFileSync(make('clear.ts', ...pattern(2), ...h264));
    for (let at = 0; at < bytes.length; at += 188) {
      if ((bytes.readUInt16BE(at + 1) & 0x1fff) !== 0x100) continue;
      const field = bytes[at + 3]! & 0x20 ? 1 + bytes[at + 4]! : 0;
      bytes[at + 3]! |= 0x80;
      for (let i = at + 4 + field; i < at + 188; i++) bytes[i]! ^= i & 0xff;
    }
    const path = join(folder, 'scrambled.ts');
    writeFileSync(path, bytes);
    await expect(probeVideo(path)).rejects.toThrow(/is encrypted/);
  });
});
