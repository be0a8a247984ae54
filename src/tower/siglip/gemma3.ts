// Gemma 3's tower: SigLIP, pooling, a normalisation and one matrix, in a Hugging Face folder or an mmproj file.
import * as v from 'valibot';
import { integer } from '../../base/schema.js';
import { withoutQuantization } from '../../cache/withoutQuantization.js';
import { readPart, unsupportedConfig } from '../../files/configFile.js';
import type { GgufFile } from '../../files/gguf.js';
import { MmprojFields } from '../../files/mmprojFields.js';
import { openWeights } from '../../files/openWeights.js';
import { requireTensor } from '../../files/requireTensor.js';
import { tensorNames, type WeightFile, weightsError } from '../../files/tensorFile.js';
import { perChannel } from '../fields.js';
import { readImageProcessor } from '../huggingFace/files.js';
import { readFilter, readPixels } from '../huggingFace/pixels.js';
import { countMmprojLayers } from '../mmproj.js';
import { type ModelFiles, modelFiles } from '../modelFiles.js';
import type { OpenTowerOptions, TowerFamily, TowerSource } from '../source.js';
import { pooledMatrix } from './pooledMatrix.js';
import { isSiglip, readMmprojSiglip } from './siglip.js';
import { readSiglipShape } from './siglipShape.js';
import { type SiglipParts, siglipSource } from './siglipSource.js';
import { endingWith, findMmprojSiglip, findSiglip, siglipNames } from './tensors.js';
import type { SiglipShape } from './towerGraph.js';

const start = 'multi_modal_projector.mm_';
const [matrix, norm] = [`${start}input_projection_weight`, `${start}soft_emb_norm.weight`];
const fields = v.object({ mm_tokens_per_image: v.nullish(integer(1), 256) });
const visionType = 'siglip_vision_model';

export const gemma3: TowerFamily = {
  name: 'gemma3',
  namesIn(names) {
    const tower = siglipNames(names);
    const connector = names.filter((name) => name.startsWith(start) || name.includes(`.${start}`));
    return tower.length > 0 && connector.length > 0 ? [...tower, ...connector] : [];
  },
  async open(path, options) {
    const model = await modelFiles(path);
    if (!model) return undefined;
    if (model.gguf) return openMmproj(model.gguf, options);
    return model.type === 'gemma3' ? openFolder(model, options) : undefined;
  },
};

type Folder = Extract<ModelFiles, { gguf: undefined }>;

async function openFolder({ files, config, ...model }: Folder, options: OpenTowerOptions): Promise<TowerSource> {
  if (model.visionType !== visionType)
    throw unsupportedConfig(
      config.file,
      `vision_config.model_type is ${model.visionType ?? 'absent'}, not ${visionType}`,
      'Use a Gemma 3 that takes pictures.',
    );
  const sizes = readSiglipShape(config);
  const shape = { ...sizes, patchLayers: [sizes.layers], normalizes: true, keepsFirst: true };
  const { mm_tokens_per_image: tokens } = readPart(fields, config);
  const processor = await readImageProcessor(files);
  const pixels = {
    ...readPixels(processor, 'Gemma3ImageProcessor', sizes.imageSize),
    filter: readFilter(processor, 2),
  };
  const file = await withoutQuantization(await openWeights(files.weights), options);
  const parts = { shape, pixels, weights: findSiglip(file, shape) };
  const side = Math.floor(Math.sqrt(tokens));
  return connected(file, parts, {
    factor: Math.floor(Math.sqrt(sizes.patches) / side),
    ...{ norm: endingWith(file, norm), addsOne: true, matrix: endingWith(file, matrix) },
  });
}

async function openMmproj(file: GgufFile, options: OpenTowerOptions): Promise<TowerSource | undefined> {
  const fields = new MmprojFields(file);
  if (fields.projectorType() !== 'gemma3') return undefined;
  if (!isSiglip(file))
    throw fields.unsupported(
      'its vision tower is not SigLIP, which a projector of type gemma3 stands behind',
      'Use the mmproj file of a Gemma 3.',
    );
  const sizes = readMmprojSiglip(fields);
  const layers = countMmprojLayers(file);
  if (layers === 0) throw fields.error('tensor v.blk.0.ln1.weight is missing');
  const shape = { ...sizes, layers, patchLayers: [layers], normalizes: true, keepsFirst: true };
  const pixels = {
    mean: fields.read('clip.vision.image_mean', perChannel),
    std: fields.read('clip.vision.image_std', perChannel),
    ...{ rescale: 1 / 255, shortestEdge: sizes.imageSize },
    ...({ resize: 'squash', filter: 'bilinear' } as const),
  };
  const plain = await withoutQuantization(file, options);
  const factor = fields.read('clip.vision.projector.scale_factor', v.optional(integer(1), 4));
  return connected(
    plain,
    { shape, pixels, weights: findMmprojSiglip(plain, shape, file) },
    // The converter has added the 1.
    { factor, norm: 'mm.soft_emb_norm.weight', addsOne: false, matrix: 'mm.input_projection.weight' },
  );
}

type Names = {
  /** Rows and columns of patches that are averaged. */
  readonly factor: number;
  readonly norm: string;
  /** Whether the norm's weights are stored as what is above 1. */
  readonly addsOne: boolean;
  readonly matrix: string;
};

function connected(
  file: WeightFile,
  parts: Pick<SiglipParts, 'pixels' | 'weights'> & { readonly shape: SiglipShape },
  { factor, norm, addsOne, matrix }: Names,
): TowerSource {
  const { channels, patches, layerNormEpsilon: epsilon } = parts.shape;
  const side = Math.sqrt(patches);
  if (factor < 1 || side % factor !== 0)
    throw weightsError(
      file.path,
      `${side} rows and columns of patches cannot be averaged in squares of ${factor}`,
      'Use weights and configuration of the same model.',
    );
  const weights = { norm: requireTensor(file, norm, [channels]), matrix: requireTensor(file, matrix, [channels, -1]) };
  const other = tensorNames(file).find((name) => isConnector(name) && name !== norm && name !== matrix);
  if (other !== undefined)
    throw weightsError(
      file.path,
      `tensor ${other} is no part of the projector of Gemma 3`,
      'Use weights and configuration of the same model.',
    );
  const connector = pooledMatrix(side, factor, { ...weights, addsOne, epsilon });
  const kind = 'pooled_rms_linear';
  return siglipSource({
    ...parts,
    connector: { ...connector, description: { kind, factor, addsOne } },
    projection: { kind, width: connector.width, attention: 'full' },
    template: 'gemma3',
    note: 'each frame is taken as one picture, without panning and scanning',
  });
}

function isConnector(name: string): boolean {
  return /(^|\.)multi_modal_projector\.|^mm\./.test(name);
}
