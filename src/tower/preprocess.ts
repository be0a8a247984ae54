import { checkOneOf } from '../base/validate.js';
import type { PixelNormalization, VisionConfig } from './clip/huggingFaceConfig.js';

/** How frames of any size become the square pictures that a tower takes. */
export type FrameGeometry = {
  /** Crop the middle, squash to a square, or pad to a square. */
  readonly resize: 'crop' | 'squash' | 'pad';
  /** Width and height of a finished frame in pixels: S. */
  readonly size: number;
  /** For `crop`: pixels of the shorter edge before the middle is cropped. */
  readonly shortestEdge: number;
  /** For `pad`: red, green and blue, 0 to 255. */
  readonly padColor: readonly [number, number, number];
};

/** The geometry of `config`, by the model's own way of resizing or another. */
export function frameGeometry(config: VisionConfig, resize: FrameGeometry['resize'] = config.resize): FrameGeometry {
  checkOneOf('resize', resize, ['crop', 'squash', 'pad']);
  // LLaVA pads with the mean colour, cut to whole numbers.
  const [red, green, blue] = config.mean.map((mean) => Math.trunc(mean / config.rescale));
  return { resize, size: config.imageSize, shortestEdge: config.shortestEdge, padColor: [red!, green!, blue!] };
}

/**
 * Normalises frames and turns them from pixels to planes.
 *
 * @param frames RGB, [n, S, S, 3].
 * @param planes filled with [n, 3, S, S].
 */
export function normalizeFrames(
  frames: Uint8Array,
  planes: Float32Array,
  size: number,
  tables: readonly Float32Array[],
): void {
  const pixels = size * size;
  for (let frame = 0; frame * pixels * 3 < frames.length; frame++) {
    for (let channel = 0; channel < 3; channel++) {
      const table = tables[channel]!;
      const plane = (frame * 3 + channel) * pixels;
      let source = frame * pixels * 3 + channel;
      for (let i = 0; i < pixels; i++, source += 3) planes[plane + i] = table[frames[source]!]!;
    }
  }
}

/** What each of the 256 pixel values becomes, per channel. */
export function normalizationTables({ mean, std, rescale }: PixelNormalization): Float32Array[] {
  return mean.map((average, channel) =>
    Float32Array.from({ length: 256 }, (_, value) => (value * rescale - average) / std[channel]!),
  );
}
