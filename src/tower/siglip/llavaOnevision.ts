// LLaVA-OneVision: SigLIP, two linear layers, pooling of each frame, and an embedding that ends the video. LLaVA-Video has it
// behind each row instead.
import * as v from 'valibot';
import { withoutQuantization } from '../../cache/withoutQuantization.js';
import { activations } from '../../compute/activations.js';
import { partOf, readPart, unsupportedConfig } from '../../files/configFile.js';
import { openWeights } from '../../files/openWeights.js';
import { requireTensor } from '../../files/requireTensor.js';
import { tensorNames, type WeightFile, weightsError } from '../../files/tensorFile.js';
import { readFeatures } from '../huggingFace/features.js';
import { readImageProcessor, readVideoProcessor } from '../huggingFace/files.js';
import { readPixels } from '../huggingFace/pixels.js';
import { modelFiles } from '../modelFiles.js';
import type { TowerFamily } from '../source.js';
import { isAuthorsOwn, openAuthorsOwn } from './authorsLlava.js';
import { mlpPooled } from './connectors.js';
import { readSiglipShape } from './siglipShape.js';
import { siglipSource } from './siglipSource.js';
import { endingWith, findSiglip, siglipNames } from './tensors.js';

const fields = v.object({ multimodal_projector_bias: v.nullish(v.boolean(), true) });
const choices = v.object({ projector_hidden_act: v.nullish(v.picklist(activations), 'gelu') });

const projectorStart = 'multi_modal_projector.';
const newline = 'image_newline';
// By transformers and by its authors.
const ownName = /(^|\.)((multi_modal_projector|mm_projector)\.|image_newline$)/;

export const llavaOnevision: TowerFamily = {
  name: 'llava_onevision',
  namesIn(names) {
    const tower = siglipNames(names);
    const others = names.filter((name) => ownName.test(name));
    const isWhole = others.length > 1 && others.some((name) => name.endsWith(newline));
    return tower.length > 0 && isWhole ? [...tower, ...others] : [];
  },
  async open(path, options) {
    const model = await modelFiles(path);
    if (!model || model.gguf) return undefined;
    if (isAuthorsOwn(model)) return openAuthorsOwn(model, options);
    if (model.type !== 'llava_onevision') return undefined;
    const { config, files, visionType } = model;
    if (visionType !== 'siglip_vision_model')
      throw unsupportedConfig(
        config.file,
        `${partOf(config, 'vision_config').name}.model_type ${visionType} is not supported`,
        'Use a LLaVA-OneVision whose vision tower is SigLIP.',
      );
    const sizes = readSiglipShape(config);
    const shape = { ...sizes, ...readFeatures(config, 'llava_onevision', sizes.layers), normalizes: false };
    if (!shape.keepsFirst)
      throw unsupportedConfig(
        config.file,
        'vision_feature_select_strategy default leaves out the first patch, and what is left is no square to be pooled',
        "Set it to 'full'.",
      );
    const { multimodal_projector_bias: hasBias } = readPart(fields, config);
    const { projector_hidden_act: activation } = readPart(choices, config, unsupportedConfig);
    // Frames of videos have a processor of their own.
    const processor = (await readVideoProcessor(files)) ?? (await readImageProcessor(files));
    const pixels = readPixels(processor, 'LlavaOnevisionVideoProcessor', sizes.imageSize);
    const file = await withoutQuantization(await openWeights(files.weights), options);
    const weights = findSiglip(file, shape);
    const { up, down } = findProjector(file, shape.channels * shape.patchLayers.length, hasBias);
    const connector = mlpPooled(Math.sqrt(sizes.patches), { up, down, activation });
    const ending = requireTensor(file, endingWith(file, newline), [connector.width]);
    const kind = 'mlp2x_gelu_pooled'.replace('gelu', activation);
    return siglipSource({
      ...{ shape, pixels, weights },
      connector: { ...connector, description: { kind, pooling: 'bilinear', ending: newline } },
      projection: { kind, width: connector.width, ending },
      template: 'llava_onevision',
      note: 'each frame is taken as one of a video, pooled and without the tiles that are cut from single images',
    });
  },
};

/** @throws as {@link requireTensor} */
function findProjector(file: WeightFile, channels: number, hasBias: boolean) {
  const start = endingWith(file, `${projectorStart}linear_1.weight`).slice(0, -'linear_1.weight'.length);
  const weight1 = requireTensor(file, `${start}linear_1.weight`, [-1, channels]);
  const [inner] = weight1.shape as [number];
  const weight2 = requireTensor(file, `${start}linear_2.weight`, [-1, inner]);
  const biasOf = (layer: string, size: number) =>
    hasBias ? requireTensor(file, `${start}${layer}.bias`, [size]) : undefined;
  const other = tensorNames(file).find((name) => name.startsWith(start) && !isLayer(name.slice(start.length), hasBias));
  if (other !== undefined)
    throw weightsError(
      file.path,
      `tensor ${other} is no part of the projector that its configuration asks for`,
      'Use weights and configuration of the same model.',
    );
  return {
    up: { weight: weight1, bias: biasOf('linear_1', inner) },
    down: { weight: weight2, bias: biasOf('linear_2', weight2.shape[0]!) },
  };
}

function isLayer(name: string, hasBias: boolean): boolean {
  return /^linear_[12]\.(weight|bias)$/.test(name) && (hasBias || name.endsWith('weight'));
}
