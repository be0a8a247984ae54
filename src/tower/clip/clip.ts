// CLIP vision towers: in a Hugging Face folder, in the weight file of one, or in an mmproj file.
import { withoutQuantization } from '../../cache/withoutQuantization.js';
import { openWeights } from '../../files/openWeights.js';
import type { OpenTowerOptions, TowerFamily, TowerSource } from '../source.js';
import { type ClipConfig, readVisionConfig, visionFiles } from './huggingFaceConfig.js';
import { findTowerWeights, linearMatricesOf, tensorsOf } from './huggingFaceTower.js';
import { findMmprojTower, readMmprojConfig } from './mmprojTower.js';
import { towerNames } from './tensorNames.js';
import { buildTower, type ClipWeights } from './towerGraph.js';

/** The last family to be tried: it treats every file or folder as CLIP, so its errors say what is wrong with the file. */
export const clip: TowerFamily = {
  name: 'clip',
  namesIn: towerNames,
  async open(path, options): Promise<TowerSource> {
    const { config, weights } = await openClip(path, options);
    return clipSource(config, weights);
  },
};

async function openClip(
  path: string,
  options: OpenTowerOptions,
): Promise<{ config: ClipConfig; weights: ClipWeights }> {
  const files = await visionFiles(path);
  const file = await openWeights(files.weights);
  if (file.format === 'gguf') {
    const config = readMmprojConfig(file);
    return { config, weights: findMmprojTower(await withoutQuantization(file, options), config) };
  }
  const config = await readVisionConfig(files);
  return { config, weights: findTowerWeights(await withoutQuantization(file, options), config) };
}

function clipSource(config: ClipConfig, weights: ClipWeights): TowerSource {
  const { resize, shortestEdge, ...description } = config;
  const { channels, heads, imageSize, patchSize, patches, layers, patchLayer, mean, std, rescale } = config;
  const side = Math.floor(imageSize / patchSize);
  return {
    config: {
      patches,
      grid: [side, side],
      channels,
      summaries: layers + 1,
      heads,
      ...{ imageSize, mean, std, rescale, resize, shortestEdge },
    },
    details: {
      ...{ patchSize, layers, heads, patchLayer },
      ...(patchLayer === layers && {
        note: `the file ends with the layer that patches come from: global layers are counted from hidden state ${layers}`,
      }),
    },
    description,
    tensors: tensorsOf(weights),
    linear: linearMatricesOf(weights),
    graph: (options) => buildTower({ shape: config, pixels: config, weights }, options),
  };
}
