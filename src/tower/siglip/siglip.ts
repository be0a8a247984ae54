// SigLIP and SigLIP 2 vision towers for frames of a fixed size, by themselves or in a LLaVA: the projector is another file, or
// another part of the same one.
import * as v from 'valibot';
import { withoutQuantization } from '../../cache/withoutQuantization.js';
import { unsupportedConfig } from '../../files/configFile.js';
import type { GgufFile } from '../../files/gguf.js';
import { MmprojFields } from '../../files/mmprojFields.js';
import { openWeights } from '../../files/openWeights.js';
import { perChannel } from '../fields.js';
import { readFeatures } from '../huggingFace/features.js';
import { readImageProcessor } from '../huggingFace/files.js';
import { type Processor, readPixels } from '../huggingFace/pixels.js';
import {
  countMmprojLayers,
  type MmprojShape,
  readFeatureLayers,
  readMmprojActivation,
  readMmprojShape,
} from '../mmproj.js';
import { type ModelFolder, modelFiles } from '../modelFiles.js';
import type { OpenTowerOptions, TowerFamily, TowerSource } from '../source.js';
import { readSiglipShape } from './siglipShape.js';
import { siglipSource } from './siglipSource.js';
import { findMmprojSiglip, findSiglip, siglipNames } from './tensors.js';

// The image processor that a model of each type has where its file names none.
const processorOf: Readonly<Record<string, Processor>> = {
  siglip_vision_model: 'SiglipImageProcessor',
  siglip: 'SiglipImageProcessor',
  llava: 'LlavaImageProcessor',
  llava_next: 'LlavaNextImageProcessor',
};

export const siglip: TowerFamily = {
  name: 'siglip',
  namesIn: siglipNames,
  async open(path, options) {
    const model = await modelFiles(path);
    if (!model) return undefined;
    return model.gguf ? openMmproj(model.gguf, options) : openFolder(model, options);
  },
};

async function openFolder(
  { files, config, type = '', visionType }: ModelFolder,
  options: OpenTowerOptions,
): Promise<TowerSource | undefined> {
  if (/^siglip2/.test(visionType ?? type) || type === 'siglip2')
    throw unsupportedConfig(
      config.file,
      'SigLIP 2 NaFlex takes pictures of any size',
      'Use a SigLIP 2 of a fixed size, whose model_type is siglip.',
    );
  const isTower = type === 'siglip_vision_model' || type === 'siglip';
  if (!isTower && !((type === 'llava' || type === 'llava_next') && visionType === 'siglip_vision_model'))
    return undefined;
  const sizes = readSiglipShape(config);
  // By itself it gives its last hidden state, normalised.
  const features = isTower
    ? { patchLayers: [sizes.layers], keepsFirst: true }
    : readFeatures(config, type, sizes.layers);
  const shape = { ...sizes, ...features, normalizes: isTower };
  const pixels = readPixels(await readImageProcessor(files), processorOf[type]!, sizes.imageSize);
  const weights = findSiglip(await withoutQuantization(await openWeights(files.weights), options), shape);
  const { patchLayers, keepsFirst } = features;
  return siglipSource({
    ...{ shape, pixels, weights },
    ...(!isTower && { patchStates: { layers: patchLayers, depth: sizes.layers, keepsClassToken: keepsFirst } }),
    ...(type === 'llava_next' && { note: wholeFrames }),
  });
}

const wholeFrames = 'each frame is taken as one picture, without the tiles that are cut from single images';

/** Whether the tower of an mmproj file is a SigLIP: without class token and normalisation before the first layer. */
export function isSiglip({ tensors }: GgufFile): boolean {
  const has = (name: string) => tensors.has(`v.${name}`);
  return has('patch_embd.bias') && has('position_embd.weight') && !has('class_embd') && !has('pre_ln.weight');
}

// With other values than these the tower would be computed in another way.
const fixed = {
  'clip.vision.n_wa_pattern': 0,
  'clip.vision.window_size': 0,
  'clip.vision.expert_used_count': 0,
} as const;

/** The sizes of a SigLIP in an mmproj file, but for its layers. */
export function readMmprojSiglip(
  fields: MmprojFields,
  others: Readonly<Record<string, number>> = {},
): MmprojShape & { activation: 'gelu_pytorch_tanh' | 'silu' | 'quick_gelu' } {
  const activation = readMmprojActivation(fields);
  return {
    ...readMmprojShape(fields, 'SigLIP', { ...fixed, ...others }),
    // llama.cpp's GELU is that by the hyperbolic tangent, too.
    activation: activation === 'gelu' ? 'gelu_pytorch_tanh' : activation,
  };
}

// Layers of whole towers by their channels: B, L, SO400M and g.
const depths: Readonly<Record<number, number>> = { 768: 12, 1024: 24, 1152: 27, 1536: 40 };

async function openMmproj(file: GgufFile, options: OpenTowerOptions): Promise<TowerSource | undefined> {
  const fields = new MmprojFields(file);
  if (fields.projectorType() !== 'mlp' || !isSiglip(file)) return undefined;
  const sizes = readMmprojSiglip(fields, {
    'clip.vision.spatial_merge_size': 1,
    'clip.vision.projector.scale_factor': 1,
  });
  const layers = countMmprojLayers(file);
  if (layers === 0) throw fields.error('tensor v.blk.0.ln1.weight is missing');
  const { patchLayers, note } = readFeatureLayers(fields, layers, depths[sizes.channels]);
  const shape = {
    ...{ ...sizes, layers, patchLayers, keepsFirst: true },
    // llama.cpp normalises the last state where the file has the weights.
    normalizes: patchLayers.length === 1 && file.tensors.has('v.post_ln.weight'),
  };
  const aspect = fields.read('clip.vision.image_aspect_ratio', v.optional(v.string()));
  const pixels = {
    mean: fields.read('clip.vision.image_mean', perChannel),
    std: fields.read('clip.vision.image_std', perChannel),
    ...{ rescale: 1 / 255, shortestEdge: sizes.imageSize },
    ...(aspect === 'pad' ? ({ resize: 'pad' } as const) : ({ resize: 'squash', filter: 'bicubic' } as const)),
  };
  const weights = findMmprojSiglip(await withoutQuantization(file, options), shape, file, true);
  const notes = [note, aspect?.startsWith('anyres') ? wholeFrames : undefined].filter((part) => part !== undefined);
  return siglipSource({ shape, pixels, weights, ...(notes.length > 0 && { note: notes.join('; ') }) });
}
