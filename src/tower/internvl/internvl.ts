// InternVL's vision tower with its projector: in a folder of transformers or of its authors, or in an mmproj file.
import { withoutQuantization } from '../../cache/withoutQuantization.js';
import type { GgufFile } from '../../files/gguf.js';
import { MmprojFields } from '../../files/mmprojFields.js';
import { openWeights } from '../../files/openWeights.js';
import { type ModelFiles, modelFiles } from '../modelFiles.js';
import { visionPrecisions } from '../precision.js';
import type { OpenTowerOptions, TowerFamily, TowerSource } from '../source.js';
import { layerTensors, linearMatrices, tensorsIn } from '../transformer/weights.js';
import { readAuthorsConfig } from './authorsConfig.js';
import { type InternvlConfig, readHubConfig } from './hubConfig.js';
import { readMmprojConfig } from './mmproj.js';
import { findAuthorsWeights, findHubWeights, findMmprojWeights, internvlNames } from './tensors.js';
import { buildInternvl, type InternvlWeights } from './towerGraph.js';

type Found = { readonly config: InternvlConfig; readonly weights: InternvlWeights };

/** InternVL 2.5, 3 and 3.5, with the projector: a tower without it is none of this family. */
export const internvl: TowerFamily = {
  name: 'internvl',
  namesIn: internvlNames,
  async open(path, options): Promise<TowerSource | undefined> {
    const model = await modelFiles(path);
    const found = model && (model.gguf ? await openMmproj(model.gguf, options) : await openFolder(model, options));
    return found && internvlSource(found);
  },
};

async function openMmproj(file: GgufFile, options: OpenTowerOptions): Promise<Found | undefined> {
  if (new MmprojFields(file).projectorType() !== 'internvl') return undefined;
  const config = readMmprojConfig(file);
  return { config, weights: findMmprojWeights(await withoutQuantization(file, options), config) };
}

type Folder = Extract<ModelFiles, { gguf: undefined }>;

async function openFolder(
  { files, config: root, type }: Folder,
  options: OpenTowerOptions,
): Promise<Found | undefined> {
  if (type !== 'internvl' && type !== 'internvl_chat') return undefined;
  const isHub = type === 'internvl';
  const config = isHub ? await readHubConfig(root, files) : readAuthorsConfig(root);
  const file = await withoutQuantization(await openWeights(files.weights), options);
  return { config, weights: isHub ? findHubWeights(file, config) : findAuthorsWeights(file, config) };
}

function internvlSource({ config, weights }: Found): TowerSource {
  const { heads, imageSize, patchSize, patches, layers, patchLayer, factor } = config;
  const { mean, std, rescale, resize, shortestEdge, filter } = config;
  const side = Math.floor(imageSize / patchSize) / factor;
  const [width] = weights.projector.second.weight.shape as [number];
  return {
    config: {
      ...{ patches: patches / factor ** 2, grid: [side, side], channels: width, summaries: 0, heads: 1 },
      ...{ imageSize, mean, std, rescale, resize, shortestEdge },
      ...(filter && { filter }),
      ...(weights.layers.length > 0 && { attention: 'cls' }),
    },
    projection: { kind: `pixel_shuffle_layernorm_mlp2x_${config.projectorActivation}`, width },
    template: 'internvl',
    details: {
      ...{ patchSize, layers, heads, patchLayer, patchesPerToken: factor ** 2 },
      note: 'each frame is taken as one picture, without the tiles that InternVL cuts from single images',
    },
    description: describe(config),
    tensors: tensorsOf(weights),
    linear: linearMatrices(weights.layers),
    precisions: visionPrecisions,
    graph: (options) => buildInternvl({ shape: config, pixels: config, weights }, options),
  };
}

/** Everything that the outputs depend on but the weights. */
function describe(config: InternvlConfig): object {
  const { channels, intermediateSize, layers, heads, imageSize, patchSize, patches, patchLayer } = config;
  const { activation, normalization, queryKeyEpsilon, attentionBias, endNorm, factor, projectorActivation } = config;
  const { mean, std, rescale, resize, filter, shortestEdge } = config;
  return {
    family: 'internvl',
    ...{ channels, intermediateSize, layers, heads, imageSize, patchSize, patches, patchLayer },
    ...{ activation, normalization, queryKeyEpsilon, attentionBias, endNorm, factor, projectorActivation },
    ...{ mean, std, rescale, resize, filter, shortestEdge },
  };
}

function tensorsOf({ layers, projector, ...parts }: InternvlWeights) {
  const { classEmbedding, patchEmbedding, positionEmbedding, endNorm } = parts;
  return [
    ...tensorsIn([classEmbedding, patchEmbedding.weight, patchEmbedding.bias, positionEmbedding]),
    ...layerTensors(layers),
    ...tensorsIn([endNorm, projector.norm, projector.first, projector.second]),
  ];
}
