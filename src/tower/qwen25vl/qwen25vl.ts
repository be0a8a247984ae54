// Qwen2.5-VL's vision towers, with their mergers: in a Hugging Face folder, in the weight file of one, or in an mmproj file.
import { largestEdge } from '../../base/resize.js';
import { withoutQuantization } from '../../cache/withoutQuantization.js';
import { openWeights } from '../../files/openWeights.js';
import { modelFiles } from '../modelFiles.js';
import { visionPrecisions } from '../precision.js';
import { frameSize } from '../qwen3vl/videoSize.js';
import type { OpenTowerOptions, TowerFamily, TowerSource } from '../source.js';
import { layerTensors, linearMatrices, tensorsIn } from '../transformer/weights.js';
import { type Qwen25Config, type Qwen25Pixels, readQwen25Config, readQwen25Pixels } from './huggingFaceConfig.js';
import { isQwen25Mmproj, readQwen25Mmproj } from './mmproj.js';
import { buildQwen25Tower, type Qwen25Weights } from './towerGraph.js';
import { findQwen25Mmproj, findQwen25Tower, qwen25Names } from './weights.js';

/** The family of Qwen2.5-VL. */
export const qwen25vl: TowerFamily = {
  name: 'qwen2_5_vl',
  namesIn: qwen25Names,
  async open(path, options): Promise<TowerSource | undefined> {
    const parts = await openParts(path, options);
    return parts && sourceOf(parts);
  },
};

type Parts = Qwen25Config & { readonly pixels: Qwen25Pixels; readonly weights: Qwen25Weights };

async function openParts(path: string, options: OpenTowerOptions): Promise<Parts | undefined> {
  const model = await modelFiles(path);
  if (!model) return undefined;
  if (model.gguf) {
    if (!isQwen25Mmproj(model.gguf)) return undefined;
    const read = readQwen25Mmproj(model.gguf);
    const file = await withoutQuantization(model.gguf, options);
    return { ...read, weights: findQwen25Mmproj(file, read.shape, model.gguf) };
  }
  if (model.type !== 'qwen2_5_vl') return undefined;
  const config = readQwen25Config(model.config);
  const pixels = await readQwen25Pixels(model.files, config.shape);
  const file = await withoutQuantization(await openWeights(model.files.weights), options);
  return { ...config, pixels, weights: findQwen25Tower(file, config.shape) };
}

function sourceOf({ shape, pixels, weights, positionsPerSecond }: Parts): TowerSource {
  const { framesPerStep, patchSize, mergeSize, width, heads, layers, window, fullLayers } = shape;
  const { mean, std, rescale, ...pixelCounts } = pixels;
  const cell = patchSize * mergeSize;
  const bounds = { ...pixelCounts, cell, framesPerStep };
  const patches = Math.max(1, Math.floor(pixels.maxPixels / cell ** 2));
  const side = Math.max(1, Math.floor(Math.min(largestEdge / cell, Math.sqrt(patches)))) * cell;
  const { merger } = weights;
  return {
    config: {
      ...{ framesPerStep, patches, grid: [1, patches], channels: width, summaries: 0, heads: 1 },
      reduction: 'pick',
      ...{ imageSize: side, mean, std, rescale, resize: 'squash', filter: 'bicubic', shortestEdge: side },
      cell: { pixels: cell, patches: mergeSize },
    },
    sizeOf: (video) => frameSize(video, bounds),
    projection: { kind: 'qwen2.5vl_merger', width, positionsPerSecond },
    template: 'qwen2_5_vl',
    details: {
      ...{ patchSize, layers, heads, framesPerStep },
      frames: `of any size in multiples of ${cell} pixels, with at most ${pixels.maxPixels}`,
      windows: `${window}x${window} tokens, in all layers but ${fullLayers.join(', ')}`,
    },
    description: { kind: 'qwen2_5_vl', ...shape, ...pixels },
    tensors: [
      ...tensorsIn(weights.patchEmbedding),
      ...layerTensors(weights.layers),
      ...tensorsIn([merger.norm, merger.first, merger.second]),
    ],
    linear: [...linearMatrices(weights.layers), merger.first.weight, merger.second.weight],
    precisions: visionPrecisions,
    graph: (options) => buildQwen25Tower({ shape, pixels, weights }, options),
  };
}
