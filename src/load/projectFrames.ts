// Frames to embeddings of a language model, without sampling or reduction: for other pipelines, and for checks.
import { resolve } from 'node:path';
import { LongVLMError } from '../base/errors.js';
import type { OnProgress } from '../base/progress.js';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import {
  checkFloat32Tensor,
  checkInteger,
  checkObject,
  checkOneOf,
  checkSignal,
  checkString,
  isArray,
  wrongType,
  wrongValue,
} from '../base/validate.js';
import { Projector } from '../projector/projector.js';
import { shapeOfCells, squareShape } from '../tower/frameShape.js';
import { type VisionPrecision, visionPrecisions } from '../tower/precision.js';
import { Tower, type TowerOutput } from '../tower/tower.js';

/** Options of {@link projectFrames}. */
export type ProjectFramesOptions = {
  /** Weights of the projector; with those of its tower in the same file or folder, they are all that is needed. */
  readonly projector: string;
  /** The vision tower. Defaults to that in `projector`. */
  readonly vision?: string;
  /** For a tower of any size, such as Qwen3-VL's: steps, and rows and columns of patches. */
  readonly grid?: readonly [steps: number, rows: number, columns: number];
  /** Precision of the tower. Defaults to `float32`. */
  readonly precision?: VisionPrecision;
  /** `cpu`, `auto` (a GPU that works, else the CPU) or an execution provider of ONNX Runtime. Defaults to `cpu`. */
  readonly device?: string;
  /** Threads on the CPU. Defaults to the number of cores. */
  readonly threads?: number;
  /** Called while weights are written out in another type. */
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal | null;
};

/** What {@link projectFrames} gives. */
export type ProjectedFrames = {
  /** [frames, N, d], the embeddings of each frame's N tokens; of each step's where the tower takes several frames as one. */
  readonly tokens: Float32Tensor;
  /** For models with DeepStack, [frames, N, d] for each of the language model's first layers that get rows of their own. */
  readonly deepstack?: readonly Float32Tensor[];
  /** For models whose videos end with an embedding of its own, [d]: it stands once behind all tokens. */
  readonly ending?: Float32Tensor;
};

/**
 * Runs a vision tower and its projector on pixels that you normalised. All of a frame's tokens are projected.
 * @param pixels [frames, 3, S, S] as the tower takes them; for a tower of any size [steps · rows · columns, values], the patches
 *   as its model's own processor gives them
 * @throws TypeError or RangeError for a wrong argument; LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`,
 *   `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_MISMATCH` when tower and projector do not fit, `ERR_LONGVLM_INFERENCE`; `signal.reason`
 * @example
 * const { tokens } = await projectFrames(pixels, { projector: 'mmproj-SmolVLM2-500M-f16.gguf' });
 */
export async function projectFrames(pixels: Float32Tensor, options: ProjectFramesOptions): Promise<ProjectedFrames> {
  checkObject('options', options);
  const projector = checkString('projector', options.projector);
  const path = checkString('vision', options.vision ?? projector);
  const precision = checkOneOf('precision', options.precision ?? 'float32', visionPrecisions);
  const device = checkString('device', options.device ?? 'cpu');
  const threads = options.threads === undefined ? undefined : checkInteger('threads', options.threads, 1);
  const { onProgress } = options;
  const signal = checkSignal(options.signal);
  const tower = await Tower.open({ path, precision, device, threads, lazy: true, onProgress, signal });
  try {
    if (tower.projection && resolve(path) !== resolve(projector))
      throw new LongVLMError(
        'ERR_LONGVLM_MISMATCH',
        `The vision tower ${path} has a projector of its own, which needs none from ${projector}. Give only that model, as projector.`,
      );
    const { given, shape } = readPixels(tower, pixels, options.grid);
    const { patches } = await tower.encodePixels(given, { shape, signal });
    if (tower.projection)
      return {
        ...unstacked(patches, tower.projection),
        ...(tower.ending && { ending: float32Tensor(tower.ending, [tower.ending.length]) }),
      };
    return { tokens: await throughProjector(patches, tower, options) };
  } finally {
    await tower.dispose();
  }
}

/** The pixels as the tower's graph takes them. */
function readPixels({ config, framesPerStep }: Tower, pixels: Float32Tensor, grid: ProjectFramesOptions['grid']) {
  const { cell, imageSize } = config;
  if (!cell) {
    if (grid !== undefined) wrongType('grid', 'nothing, as the vision tower takes frames of one size,', grid);
    const given = checkFloat32Tensor('pixels', pixels, ['frames', 3, imageSize, imageSize]);
    checkInteger('pixels.dims[0]', given.dims[0], 1);
    return { given, shape: squareShape(config) };
  }
  if (!isArray(grid)) wrongType('grid', 'array of 3 integers', grid);
  if (grid.length !== 3) wrongValue('grid', 'array of 3 integers', grid);
  const [steps, rows, columns] = grid.map((size, axis) => {
    const least = axis === 0 ? 1 : cell.patches;
    if (checkInteger(`grid[${axis}]`, size, least) % least !== 0)
      wrongValue(`grid[${axis}]`, `multiple of ${least}`, size);
    return size;
  }) as [number, number, number];
  const patch = cell.pixels / cell.patches;
  const values = framesPerStep * patch * patch * 3;
  const { data } = checkFloat32Tensor('pixels', pixels, [steps * rows * columns, values]);
  const shape = shapeOfCells(config, { width: columns * patch, height: rows * patch });
  return { given: float32Tensor(data, [steps, rows, columns, values]), shape };
}

/** Separates the rows of width d that each token is made of: the embedding, then those of DeepStack. */
function unstacked(
  { data, dims }: TowerOutput['patches'],
  { width, rows = 1 }: NonNullable<Tower['projection']>,
): ProjectedFrames {
  const [frames, tokens] = dims as [number, number, number];
  const row = (index: number) => {
    if (rows === 1) return float32Tensor(data, [frames, tokens, width]);
    const taken = new Float32Array(frames * tokens * width);
    for (let token = 0; token < frames * tokens; token++) {
      const from = (token * rows + index) * width;
      taken.set(data.subarray(from, from + width), token * width);
    }
    return float32Tensor(taken, [frames, tokens, width]);
  };
  const [embeddings, ...deepstack] = Array.from({ length: rows }, (_, index) => row(index));
  return { tokens: embeddings!, ...(rows > 1 && { deepstack }) };
}

async function throughProjector(
  { data, dims }: Float32Tensor,
  { config }: Tower,
  { projector: path, device, threads, onProgress, signal }: ProjectFramesOptions,
): Promise<Float32Tensor> {
  const [frames, tokens, channels] = dims as [number, number, number];
  const projector = await Projector.load(path, {
    lazy: true,
    ...(device !== undefined && { device }),
    ...(threads !== undefined && { threads }),
    ...(onProgress && { onProgress }),
    ...(signal && { signal }),
  });
  try {
    if (projector.inChannels !== config.channels)
      throw new LongVLMError(
        'ERR_LONGVLM_MISMATCH',
        `The projector ${path} takes ${projector.inChannels} channels but its vision tower gives ${config.channels}. Use the projector that was trained for this tower.`,
      );
    const flat = float32Tensor(data, [frames * tokens, channels]);
    const projected = await projector.project(flat, { transfer: true, ...(signal && { signal }) });
    return float32Tensor(projected.data, [frames, tokens, projector.outChannels]);
  } finally {
    await projector.dispose();
  }
}
