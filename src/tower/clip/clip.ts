// CLIP vision towers: in a Hugging Face folder, in the weight file of one, or in an mmproj file.
import { withoutQuantization } from '../../cache/withoutQuantization.js';
import { openWeights } from '../../files/openWeights.js';
import { visionFiles } from '../huggingFace/files.js';
import { visionPrecisions } from '../precision.js';
import type { OpenTowerOptions, TowerFamily, TowerSource } from '../source.js';
import { linearMatrices } from '../transformer/weights.js';
import { type ClipConfig, readVisionConfig } from './huggingFaceConfig.js';
import { findTowerWeights, tensorsOf } from './huggingFaceTower.js';
import { findMmprojTower, readMmprojConfig } from './mmprojTower.js';
import { towerNames } from './tensorNames.js';
import { buildTower, type ClipWeights } from './towerGraph.js';

/** The last family to be tried: it treats every file or folder as CLIP, so its errors say what is wrong with the file. */
export const clip: TowerFamily = {
  name: 'clip',
  namesIn: towerNames,
  async open(path, options): Promise<TowerSource> {
    const { config, weights, isWhole } = await openClip(path, options);
    const { patchLayers: layers, layers: depth, keepsClassToken } = config;
    return { ...clipSource(config, weights), ...(isWhole && { patchStates: { layers, depth, keepsClassToken } }) };
  },
};

async function openClip(
  path: string,
  options: OpenTowerOptions,
): Promise<{ config: ClipConfig; weights: ClipWeights; isWhole: boolean }> {
  const files = await visionFiles(path);
  const file = await openWeights(files.weights);
  if (file.format === 'gguf') {
    const config = readMmprojConfig(file);
    const weights = findMmprojTower(await withoutQuantization(file, options), config, file);
    // It may lack the last layers.
    return { config, weights, isWhole: false };
  }
  const config = await readVisionConfig(files);
  return { config, weights: findTowerWeights(await withoutQuantization(file, options), config), isWhole: true };
}

function clipSource(config: ClipConfig, weights: ClipWeights): TowerSource {
  const { channels, heads, imageSize, patchSize, patches, layers, patchLayers, keepsClassToken, note } = config;
  const { mean, std, rescale, resize, shortestEdge, filter } = config;
  const side = Math.floor(imageSize / patchSize);
  const states = patchLayers.length;
  return {
    config: {
      patches: keepsClassToken ? patches + 1 : patches,
      grid: keepsClassToken ? [1, patches + 1] : [side, side],
      channels: channels * states,
      summaries: states === 1 ? layers + 1 : 1,
      heads: heads * states,
      ...{ imageSize, mean, std, rescale, resize, shortestEdge },
      ...(filter && { filter }),
      ...(Math.max(...patchLayers) > 0 && { attention: 'cls' }),
    },
    details: {
      ...{ patchSize, layers, heads },
      ...(states === 1 ? { patchLayer: patchLayers[0]! } : { patchLayers: patchLayers.join(', ') }),
      ...(keepsClassToken && { classToken: 'kept before the patches' }),
      ...(note !== undefined && { note }),
    },
    description: describe(config),
    tensors: tensorsOf(weights),
    linear: linearMatrices(weights.layers),
    precisions: visionPrecisions,
    graph: (options) => buildTower({ shape: config, pixels: config, weights }, options),
  };
}

/** Everything that the outputs depend on but the weights. What is as in most towers is left out, in an order that stays. */
function describe(config: ClipConfig): object {
  const { channels, intermediateSize, layers, heads, imageSize, patchSize, patches, patchLayers } = config;
  const { activation, layerNormEpsilon, mean, std, rescale, resize, filter, shortestEdge, keepsClassToken } = config;
  return {
    ...{ channels, intermediateSize, layers, heads, imageSize, patchSize, patches },
    patchLayer: patchLayers.length === 1 ? patchLayers[0] : patchLayers,
    ...{ activation, layerNormEpsilon, mean, std, rescale },
    ...(keepsClassToken && { keepsClassToken }),
    // Features depend on how frames are made of a size, which their sampling names only in part.
    ...(shortestEdge !== imageSize && { shortestEdge }),
    ...(filter && { filter }),
    ...(resize !== 'crop' && { resize }),
  };
}
