import { describe, expect, test } from 'vitest';
import { sampleFrameIndices } from '../../../dist/video/frameIndices.js';
import { type FrameSegment, type ReadSegmentsOptions, readSegments } from '../../../dist/video/frames.js';
import { probeVideo, type VideoInfo } from '../../../dist/video/probe.js';
import { decodeAll, expected, h264, make, passthrough, pattern, picoVideo, run, turned } from './videoFiles.js';

const GOP = ['-g', '20', '-sc_threshold', '0'];

async function readAll(path: string | VideoInfo, options: Partial<ReadSegmentsOptions>) {
  const segments: FrameSegment[] = [];
  const all = { frames: 12, segmentFrames: 4, geometry: 'source', ...options } as const;
  for await (const segment of readSegments(path, all)) segments.push(segment);
  return {
    segments,
    pixels: Buffer.concat(segments.map(({ frames }) => frames)),
    indices: segments.flatMap(({ frameIndices }) => frameIndices),
    timestamps: segments.flatMap(({ timestamps }) => timestamps),
  };
}

function meanDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i]! - b[i]!);
  return sum / a.length;
}

/** `pixel_values` of the reference, [T, 3, S, S] and normalised as CLIP does, back as [T, S, S, 3] from 0 to 255. */
function referencePixels(name: string): Float32Array {
  const { dims, data } = expected(name);
  const [mean, std] = [
    [0.48145466, 0.4578275, 0.40821073],
    [0.26862954, 0.26130258, 0.27577711],
  ];
  const values = new Float32Array(data.buffer);
  const plane = dims[2]! * dims[3]!;
  return Float32Array.from(values, (_, i) => {
    const channel = i % 3;
    const [frame, pixel] = [Math.floor(i / (plane * 3)), Math.floor(i / 3) % plane];
    return (values[(frame * 3 + channel) * plane + pixel]! * std[channel]! + mean[channel]!) * 255;
  });
}

describe('readSegments() against the reference', () => {
  test('gives its frames', async () => {
    const { pixels, indices, timestamps, segments } = await readAll(picoVideo, { frames: 20, segmentFrames: 5 });
    expect(indices).toEqual(sampleFrameIndices(252, 20));
    expect(timestamps.map((time) => Math.round(time * 1e6))).toEqual(indices.map((index) => index * 80_000));
    expect(segments.map(({ index, dims }) => [index, ...dims])).toEqual([0, 1, 2, 3].map((i) => [i, 5, 96, 128, 3]));
    // Equal to the bit with the versions tried; another version may round colours otherwise.
    expect(meanDifference(pixels, expected('frames').data)).toBeLessThan(2);
  });

  test('crops as CLIP does', async () => {
    const { pixels } = await readAll(picoVideo, { frames: 20, geometry: { resize: 'crop', size: 56 } });
    // 0.342 seen: ffmpeg's bicubic has another coefficient (0.6) than Pillow's (0.5).
    expect(meanDifference(pixels, referencePixels('pixel_values_crop'))).toBeLessThan(0.4);
  });

  test("squashes as the reference's loader does", async () => {
    const { pixels } = await readAll(picoVideo, { frames: 20, geometry: { resize: 'squash', size: 56 } });
    expect(meanDifference(pixels, referencePixels('pixel_values_squash'))).toBeLessThan(2);
  });
});

describe('readSegments() gives exactly the wanted frames', () => {
  const open = ['-x264-params', 'open-gop=1:keyint=20:scenecut=0'];
  const vfr = "testsrc2=s=64x48:r=25:d=6,select='not(mod(n,7))+not(mod(n,3))',setpts=PTS+3/TB";
  test.each([
    ['H.264 with B-frames in MP4', 'b.mp4', [...pattern(6), ...h264, '-bf', '3', ...GOP], true],
    ['the same in Matroska', 'b.mkv', [...pattern(6), ...h264, '-bf', '3', ...GOP], true],
    ['the same in a transport stream', 'b.ts', [...pattern(6), ...h264, '-bf', '3', ...GOP], true],
    ['the same in FLV', 'b.flv', [...pattern(6), ...h264, '-bf', '3', ...GOP], true],
    ['open groups of pictures', 'open.mp4', [...pattern(6), ...h264, '-bf', '3', ...open], true],
    [
      'keyframes that refresh gradually',
      'refresh.ts',
      [...pattern(4), ...h264, '-x264-params', 'intra-refresh=1:keyint=20'],
      false,
    ],
    ['MPEG-2 in a transport stream', 'm2.ts', [...pattern(6), '-c:v', 'mpeg2video', '-bf', '2', '-g', '20'], true],
    ['a program stream', 'm2.mpg', [...pattern(6), '-c:v', 'mpeg2video', '-bf', '2', '-g', '20'], false],
    ['MPEG-4 in AVI', 'm4.avi', [...pattern(6), '-c:v', 'mpeg4', '-g', '20'], true],
    ['the same with B-frames', 'm4b.avi', [...pattern(6), '-c:v', 'mpeg4', '-bf', '2', '-g', '20'], false],
    ['Motion JPEG', 'mj.avi', [...pattern(4), '-c:v', 'mjpeg'], true],
    [
      'VP9',
      '9.webm',
      [...pattern(4), '-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-g', '20'],
      true,
    ],
    [
      'uneven frames that start late',
      'uneven.mp4',
      ['-f', 'lavfi', '-i', vfr, ...passthrough, ...h264, '-bf', '3', ...GOP],
      true,
    ],
    ['one frame a second', 'slow.mp4', [...pattern(90, '64x48', 1), ...h264, '-bf', '3', '-g', '10'], true],
    ['GIF', 'a.gif', pattern(2), false],
    ['H.264 without a container', 'raw.h264', [...pattern(4), ...h264, '-bf', '2', ...GOP], false],
  ])('%s', async (_, name, args, seeks) => {
    const path = make(name, ...args);
    const all = decodeAll(path);
    const size = 64 * 48 * 3;
    const wanted = sampleFrameIndices(all.length / size, 8);
    const info = await probeVideo(path);
    for (const strategy of ['seek', 'through'] as const) {
      let chosen = '';
      const onPlan = (plan: { strategy: string }) => {
        chosen = plan.strategy;
      };
      const { indices, pixels } = await readAll(info, { frames: 8, strategy, onPlan });
      expect(indices).toEqual(wanted);
      for (const [slot, index] of indices.entries())
        expect(
          pixels.compare(all, index * size, (index + 1) * size, slot * size, (slot + 1) * size),
          `frame ${index}`,
        ).toBe(0);
      expect(chosen).toBe(strategy === 'seek' && !seeks ? 'through' : strategy);
    }
  });

  test('as many as there are', async () => {
    const path = make('b.mp4', ...pattern(6), ...h264, '-bf', '3', ...GOP);
    const { pixels, indices } = await readAll(path, { frames: 150, segmentFrames: 50 });
    expect(indices).toEqual(sampleFrameIndices(150, 150));
    const all = decodeAll(path);
    const size = all.length / 150;
    const wanted = indices.map((index) => all.subarray(index * size, (index + 1) * size));
    expect(pixels.equals(Buffer.concat(wanted))).toBe(true);
  });

  test('more of them than there are, across segments', async () => {
    const path = make('three.mp4', ...pattern(0.12), ...h264);
    const all = decodeAll(path);
    const { pixels, indices } = await readAll(path, { frames: 8, segmentFrames: 2 });
    expect(indices).toEqual([0, 0, 0, 1, 1, 1, 2, 2]);
    const size = all.length / 3;
    for (const [slot, index] of indices.entries())
      expect(pixels.compare(all, index * size, (index + 1) * size, slot * size, (slot + 1) * size)).toBe(0);
  });

  test('of the largest stream', async () => {
    const small = make('small.mp4', ...pattern(2, '32x24'), ...h264);
    const large = make('b.mp4', ...pattern(6), ...h264, '-bf', '3', ...GOP);
    const path = make('two.mp4', '-i', small, '-i', large, '-map', '0', '-map', '1', '-c', 'copy');
    const [a, b] = [await readAll(path, { strategy: 'seek' }), await readAll(large, {})];
    expect(a.pixels.equals(b.pixels)).toBe(true);
  });

  test('from what probeVideo() found', async () => {
    const info = await probeVideo(picoVideo);
    const first = readSegments(info, { frames: 4, segmentFrames: 4, geometry: 'source' });
    const { value } = await first.next();
    expect((value as FrameSegment).frameIndices).toEqual(sampleFrameIndices(252, 4));
    expect((await first.next()).done).toBe(true);
  });
});

describe('readSegments() chooses what is cheaper', () => {
  const plan = async (path: string, frames: number) => {
    let chosen: { strategy: string; decodedFrames: number } | undefined;
    const options = { frames, segmentFrames: frames, geometry: { resize: 'crop', size: 32 } } as const;
    for await (const _ of readSegments(path, { ...options, onPlan: (p) => (chosen = p) }));
    return chosen!;
  };

  test('seeks in a long video of many keyframes, and decodes at most a fifth of it', async () => {
    const path = make('keys.mp4', ...pattern(16, '640x360'), ...h264, '-preset', 'ultrafast', '-g', '10');
    const { strategy, decodedFrames } = await plan(path, 3);
    expect(strategy).toBe('seek');
    expect(decodedFrames).toBeLessThan(400 / 5);
  });

  test('decodes through when seeking would decode as much', async () => {
    const path = make('b.mp4', ...pattern(6), ...h264, '-bf', '3', ...GOP);
    const { strategy, decodedFrames } = await plan(path, 50);
    expect(strategy).toBe('through');
    expect(decodedFrames).toBeGreaterThan(140);
    expect(decodedFrames).toBeLessThanOrEqual(150);
  });
});

describe('readSegments() pictures', () => {
  const solid = (size: string) => ['-f', 'lavfi', '-i', `color=c=0x20A0E0:s=${size},format=rgb24`, '-frames:v', '1'];
  const read = async (path: string, geometry: ReadSegmentsOptions['geometry']) => {
    const { segments } = await readAll(path, { frames: 1, segmentFrames: 1, geometry });
    return segments[0]!;
  };
  const pixel = ({ frames, dims }: FrameSegment, x: number, y: number) => [
    ...frames.subarray((y * dims[2] + x) * 3).subarray(0, 3),
  ];

  test('pad puts bars of the mean colour or another around the whole picture', async () => {
    const path = make('wide.png', ...solid('64x31'));
    const clip = await read(path, { resize: 'pad', size: 64 });
    expect(clip.dims).toEqual([1, 64, 64, 3]);
    // floor((64 - 31) / 2) = 16 rows above.
    expect([15, 16, 46, 47].map((y) => pixel(clip, 0, y))).toEqual([
      [122, 116, 104],
      [0x20, 0xa0, 0xe0],
      [0x20, 0xa0, 0xe0],
      [122, 116, 104],
    ]);
    const tall = await read(make('tall.png', ...solid('31x64')), { resize: 'pad', size: 64, padColor: [1, 2, 3] });
    expect([15, 16, 46, 47].map((x) => pixel(tall, x, 5)[0])).toEqual([1, 0x20, 0x20, 1]);
  });

  test('squash picks floor(target * in / out), up and down', async () => {
    const path = make('noise.png', '-f', 'lavfi', '-i', 'testsrc=s=37x23', '-frames:v', '1');
    const source = await read(path, 'source');
    for (const size of [16, 37, 60]) {
      const squashed = await read(path, { resize: 'squash', size });
      for (const [x, y] of [
        [0, 0],
        [size - 1, size - 1],
        [5, 11],
        [size >> 1, 3],
      ] as const)
        expect(pixel(squashed, x, y)).toEqual(pixel(source, Math.floor((x * 37) / size), Math.floor((y * 23) / size)));
    }
  });

  test('crop keeps the middle of the longer side', async () => {
    // Black, white and black: the middle square is white, to where bicubic reaches.
    const bars = 'color=black:s=90x30,format=rgb24,drawbox=x=30:y=0:w=30:h=30:c=white:t=fill';
    const cropped = await read(make('bars.png', '-f', 'lavfi', '-i', bars, '-frames:v', '1'), {
      resize: 'crop',
      size: 30,
    });
    expect([0, 29].map((x) => pixel(cropped, x, 15)[0])).toEqual([255, 255]);
    const edge = await read(make('bars.png'), { resize: 'crop', size: 20, shortestEdge: 30 });
    expect(edge.dims).toEqual([1, 20, 20, 3]);
    expect([0, 19].map((x) => pixel(edge, x, 10)[0])).toEqual([255, 255]);
  });

  // ffmpeg moves colours to a side where it leaves out every other one of an odd number.
  test.each(['crop', 'pad', 'squash'] as const)('%s leaves colours of odd widths in their place', async (resize) => {
    const waves = "geq=r='128+99*sin(X/5)':g='128+99*sin(Y/7-X/9)':b='128+99*cos(X/6+Y/4)'";
    const path = make('odd.png', '-f', 'lavfi', '-i', `color=s=97x61,format=rgb24,${waves}`, '-frames:v', '1');
    const geometry = { resize, size: 24, filter: 'bicubic' } as const;
    const { frames } = await read(path, geometry);
    const mirrored = await read(make('mirrored.png', '-i', path, '-vf', 'hflip'), geometry);
    const back = frames.map((_, index) => {
      const [x, channel] = [Math.floor(index / 3) % 24, index % 3];
      return mirrored.frames[index - channel + (23 - 2 * x) * 3 + channel]!;
    });
    expect(meanDifference(frames, back)).toBeLessThan(1);
  });

  // Done in one go by ffmpeg, these make pictures of 70 to 80 million pixels.
  test.each([
    ['100x7000', { resize: 'crop', size: 16, shortestEdge: 1024 }, 'scale=1024:71680:flags=F,crop=16:16:504:35832'],
    ['9000x90', { resize: 'pad', size: 64 }, 'pad=9000:9000:0:4455:color=0x7a7468,scale=64:64:flags=F'],
  ] as const)(
    'of a strip of %s pixels are made of parts, not larger on the way than needed',
    async (size, geometry, filters) => {
      const strip = make(`${size}.png`, '-f', 'lavfi', '-i', `testsrc2=s=${size}`, '-frames:v', '1');
      const rgb = `format=rgb24,${filters.replace('=F', '=bicubic+accurate_rnd')}`;
      const wanted = run('-i', strip, '-vf', rgb, '-f', 'rawvideo', '-');
      expect(meanDifference((await read(strip, geometry)).frames, wanted)).toBeLessThan(1);
    },
  );

  test.each(['crop', 'pad', 'squash'] as const)('%s takes strips of one row or column', async (resize) => {
    for (const size of ['1x30000', '30000x1']) {
      const path = make(`${size}.png`, ...solid(size));
      const picture = await read(path, { resize, size: 64, filter: 'bicubic' });
      // Of a picture that is padded, the strip is a small part of a pixel: 0 of 255.
      const wanted = resize === 'pad' ? [122, 116, 104] : [0x20, 0xa0, 0xe0];
      expect(meanDifference(pixel(picture, 32, 32), wanted)).toBeLessThan(2);
    }
  });

  test.each([
    [
      'odd sizes',
      ['-f', 'lavfi', '-i', 'testsrc=s=853x479', '-pix_fmt', 'yuv444p', ...['-c:v', 'libx264']],
      'mp4',
      853,
      479,
    ],
    ['10 bits', [...pattern(0.2, '64x48'), '-c:v', 'libx264', '-pix_fmt', 'yuv420p10le'], 'mp4', 64, 48],
    ['grey', ['-f', 'lavfi', '-i', 'testsrc2=s=51x33,format=gray'], 'png', 51, 33],
    ['transparency', ['-f', 'lavfi', '-i', 'color=c=red@0.3:s=40x30,format=rgba'], 'png', 40, 30],
    ['oblong pixels, which count as square', [...pattern(0.2, '64x48'), ...h264, '-aspect', '2:1'], 'mp4', 64, 48],
  ])('of %s', async (what, args, type, width, height) => {
    const path = make(`${what}.${type}`, ...args, '-frames:v', '1');
    const source = await read(path, 'source');
    expect(source.dims).toEqual([1, height, width, 3]);
    const plain = run(
      '-i',
      path,
      '-frames:v',
      '1',
      '-sws_flags',
      'bicubic',
      '-f',
      'rawvideo',
      '-pix_fmt',
      'rgb24',
      '-',
    );
    expect(meanDifference(source.frames, plain)).toBeLessThan(1);
    for (const resize of what === 'odd sizes' ? (['crop', 'pad', 'squash'] as const) : [])
      expect((await read(path, { resize, size: 28 })).dims).toEqual([1, 28, 28, 3]);
  });

  test.each([90, 180, 270] as const)('turned by %i degrees as they are shown', async (degrees) => {
    const upright = make('b.mp4', ...pattern(6), ...h264, '-bf', '3', ...GOP);
    const path = turned(upright, degrees);
    const { segments } = await readAll(path, { frames: 1, segmentFrames: 1 });
    expect(segments[0]!.dims).toEqual(degrees === 180 ? [1, 48, 64, 3] : [1, 64, 48, 3]);
    const index = segments[0]!.frameIndices[0]!;
    const shown = decodeAll(path).subarray(index * 64 * 48 * 3, (index + 1) * 64 * 48 * 3);
    expect(meanDifference(segments[0]!.frames, shown)).toBeLessThan(1);
  });

  test('keep their size where it changes in the middle of a file', async () => {
    const a = make('first.ts', ...pattern(1), ...h264);
    const b = make('second.ts', ...pattern(1, '96x64'), ...h264);
    const path = make('changing.ts', '-i', `concat:${a}|${b}`, '-c', 'copy');
    const { segments, indices } = await readAll(path, {});
    expect(indices).toEqual(sampleFrameIndices(50, 12));
    for (const { dims, frames } of segments) expect([dims, frames.length]).toEqual([[4, 48, 64, 3], 4 * 48 * 64 * 3]);
  });
});
