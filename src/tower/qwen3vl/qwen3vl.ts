// Qwen3-VL's vision towers, with their mergers: in a Hugging Face folder, in the weight file of one, or in an mmproj file.

import { isFolder } from '../../base/regularFile.js';
import { largestEdge } from '../../base/resize.js';
import { withoutQuantization } from '../../cache/withoutQuantization.js';
import { readConfigFile } from '../../files/configFile.js';
import { isGguf, openWeights } from '../../files/openWeights.js';
import { visionFiles } from '../huggingFace/files.js';
import { visionPrecisions } from '../precision.js';
import type { OpenTowerOptions, TowerFamily, TowerSource } from '../source.js';
import { layerTensors, linearMatrices, tensorsIn } from '../transformer/weights.js';
import { isQwenFolder, type QwenPixels, readQwenPixels, readQwenShape } from './huggingFaceConfig.js';
import { findQwenTower, qwenNames } from './huggingFaceTower.js';
import { findQwenMmproj, isQwenMmproj, readQwenMmproj } from './mmprojTower.js';
import type { QwenShape } from './shape.js';
import { buildQwenTower, type QwenWeights } from './towerGraph.js';
import { videoSize } from './videoSize.js';

/** The family of Qwen3-VL. */
export const qwen3vl: TowerFamily = {
  name: 'qwen3_vl',
  namesIn: qwenNames,
  async open(path, options): Promise<TowerSource | undefined> {
    const parts = await openParts(path, options);
    return parts && sourceOf(parts);
  },
};

type Parts = { readonly shape: QwenShape; readonly pixels: QwenPixels; readonly weights: QwenWeights };

async function openParts(path: string, options: OpenTowerOptions): Promise<Parts | undefined> {
  const files = await visionFiles(path);
  if (!(await isFolder(path)) && (await isGguf(path))) {
    const file = await openWeights(path);
    if (file.format !== 'gguf' || !isQwenMmproj(file)) return undefined;
    const { shape, pixels } = readQwenMmproj(file);
    return { shape, pixels, weights: findQwenMmproj(await withoutQuantization(file, options), shape, file) };
  }
  if (!(await isQwenFolder(files))) return undefined;
  const shape = readQwenShape(await readConfigFile(files.config));
  const pixels = await readQwenPixels(files, shape);
  const file = await openWeights(files.weights);
  return { shape, pixels, weights: findQwenTower(await withoutQuantization(file, options), shape) };
}

function sourceOf({ shape, pixels, weights }: Parts): TowerSource {
  const { framesPerStep, patchSize, mergeSize, width, deepstack, heads, layers, positions } = shape;
  const { mean, std, rescale, ...pixelCounts } = pixels;
  const cell = patchSize * mergeSize;
  const rows = 1 + deepstack.length;
  const bounds = { ...pixelCounts, cell, framesPerStep };
  // Of a video of a single step.
  const patches = Math.max(1, Math.floor(pixels.maxPixels / framesPerStep / cell ** 2));
  const side = Math.max(1, Math.floor(Math.min(largestEdge / cell, Math.sqrt(patches)))) * cell;
  const { merger, deepstack: mergers } = weights;
  const all = [merger, ...mergers];
  return {
    config: {
      ...{ framesPerStep, patches, grid: [1, patches], channels: width * rows, summaries: 0, heads: 1 },
      reduction: 'pick',
      ...{ imageSize: side, mean, std, rescale, resize: 'squash', filter: 'bicubic', shortestEdge: side },
      cell: { pixels: cell, patches: mergeSize },
    },
    sizeOf: (video) => videoSize(video, bounds),
    projection: { kind: 'qwen3vl_merger', width, rows },
    template: 'qwen3_vl',
    details: {
      ...{ patchSize, layers, heads, framesPerStep },
      frames: `of any size in multiples of ${cell} pixels; a video has at most ${pixels.maxPixels}`,
      positions: `${positions}x${positions}`,
      ...(deepstack.length > 0 && { deepstack: deepstack.join(', ') }),
    },
    description: { kind: 'qwen3_vl', ...shape, ...pixels },
    tensors: [
      ...tensorsIn([...weights.patchEmbedding, weights.patchBias, weights.positionEmbedding]),
      ...layerTensors(weights.layers),
      ...tensorsIn(all.flatMap(({ norm, first, second }) => [norm, first, second])),
    ],
    linear: [...linearMatrices(weights.layers), ...all.flatMap(({ first, second }) => [first.weight, second.weight])],
    precisions: visionPrecisions,
    graph: (options) => buildQwenTower({ shape, pixels, weights }, options),
  };
}
