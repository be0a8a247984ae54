// SmolVLM2 and Idefics3: SigLIP, a pixel shuffle and one linear layer, in a Hugging Face folder or an mmproj file.
import * as v from 'valibot';
import { integer } from '../../base/schema.js';
import { withoutQuantization } from '../../cache/withoutQuantization.js';
import { readPart } from '../../files/configFile.js';
import type { GgufFile } from '../../files/gguf.js';
import { MmprojFields } from '../../files/mmprojFields.js';
import { openWeights } from '../../files/openWeights.js';
import { requireTensor } from '../../files/requireTensor.js';
import { type TensorLocation, type WeightFile, weightsError } from '../../files/tensorFile.js';
import { perChannel } from '../fields.js';
import { countMmprojLayers } from '../mmproj.js';
import { type ModelFolder, modelFiles } from '../modelFiles.js';
import type { OpenTowerOptions, TowerFamily, TowerSource } from '../source.js';
import { shuffleLinear } from './connectors.js';
import { isSiglip, readMmprojSiglip } from './siglip.js';
import { readSiglipShape } from './siglipShape.js';
import { type SiglipParts, siglipSource } from './siglipSource.js';
import { readSmolvlmPixels } from './smolvlmPixels.js';
import { endingWith, findMmprojSiglip, findSiglip, siglipNames } from './tensors.js';
import type { SiglipShape } from './towerGraph.js';

const linear = 'connector.modality_projection.proj.weight';
const fields = v.object({ scale_factor: v.nullish(integer(1), 2) });

export const smolvlm: TowerFamily = {
  name: 'smolvlm',
  namesIn(names) {
    const tower = siglipNames(names);
    const connector = names.filter((name) => name === linear || name.endsWith(`.${linear}`));
    return tower.length > 0 && connector.length > 0 ? [...tower, ...connector] : [];
  },
  async open(path, options) {
    const model = await modelFiles(path);
    if (!model) return undefined;
    if (model.gguf) return openMmproj(model.gguf, options);
    return model.type === 'smolvlm' || model.type === 'idefics3' ? openFolder(model, options) : undefined;
  },
};

async function openFolder({ files, config, type }: ModelFolder, options: OpenTowerOptions): Promise<TowerSource> {
  const sizes = readSiglipShape(config, 'smolvlm');
  const shape = { ...sizes, patchLayers: [sizes.layers], normalizes: true, keepsFirst: true };
  const { scale_factor: scale } = readPart(fields, config);
  const pixels = await readSmolvlmPixels(files, sizes.imageSize);
  const file = await withoutQuantization(await openWeights(files.weights), options);
  const weights = findSiglip(file, shape);
  const weight = requireTensor(file, endingWith(file, linear), [-1, scale * scale * sizes.channels]);
  return connected(
    file,
    { shape, pixels, weights },
    { scale, weight, ...(type === 'smolvlm' && { template: 'smolvlm' }) },
  );
}

async function openMmproj(file: GgufFile, options: OpenTowerOptions): Promise<TowerSource | undefined> {
  const fields = new MmprojFields(file);
  if (fields.projectorType() !== 'idefics3') return undefined;
  if (!isSiglip(file))
    throw fields.unsupported(
      'its vision tower is not SigLIP, which a projector of type idefics3 stands behind',
      'Use the mmproj file of a SmolVLM.',
    );
  const sizes = readMmprojSiglip(fields);
  const layers = countMmprojLayers(file);
  if (layers === 0) throw fields.error('tensor v.blk.0.ln1.weight is missing');
  const shape = { ...sizes, layers, patchLayers: [layers], normalizes: true, keepsFirst: true };
  const scale = fields.read('clip.vision.projector.scale_factor', v.optional(integer(1), 1));
  // As the video processor of SmolVLM2, which the file says nothing about.
  const pixels = {
    mean: fields.read('clip.vision.image_mean', perChannel),
    std: fields.read('clip.vision.image_std', perChannel),
    ...{ rescale: 1 / 255, shortestEdge: sizes.imageSize, longestEdge: sizes.imageSize },
    ...({ resize: 'squash', filter: 'lanczos' } as const),
  };
  const plain = await withoutQuantization(file, options);
  const weights = findMmprojSiglip(plain, shape, file);
  const weight = requireTensor(plain, 'mm.model.fc.weight', [-1, scale * scale * sizes.channels]);
  return connected(file, { shape, pixels, weights }, { scale, weight, template: 'smolvlm' });
}

type Shuffle = { readonly scale: number; readonly weight: TensorLocation; readonly template?: string };

function connected(
  file: WeightFile,
  parts: Pick<SiglipParts, 'pixels' | 'weights'> & { readonly shape: SiglipShape },
  { scale, weight, template }: Shuffle,
): TowerSource {
  const side = Math.sqrt(parts.shape.patches);
  if (side % scale !== 0)
    throw weightsError(
      file.path,
      `its scale_factor ${scale} does not divide the ${side} patches of a row`,
      'Use weights and configuration of the same model.',
    );
  const connector = shuffleLinear(side, scale, weight);
  const kind = 'pixel_shuffle_linear';
  return siglipSource({
    ...parts,
    connector: { ...connector, description: { kind, scale } },
    projection: { kind, width: connector.width },
    ...(template !== undefined && { template }),
    note: 'each frame is taken as one of a video, without the tiles that are cut from single images',
  });
}
