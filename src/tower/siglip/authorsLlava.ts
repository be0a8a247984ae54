// LLaVA-OneVision and LLaVA-Video as their authors publish them: other names, and a configuration that names the tower only.
import { dirname, resolve } from 'node:path';
import * as v from 'valibot';
import { isFolder } from '../../base/regularFile.js';
import { nonEmptyString } from '../../base/schema.js';
import { withoutQuantization } from '../../cache/withoutQuantization.js';
import { partOf, readConfigFile, readPart, unsupportedConfig } from '../../files/configFile.js';
import { openWeights } from '../../files/openWeights.js';
import { requireTensor } from '../../files/requireTensor.js';
import type { WeightFile } from '../../files/tensorFile.js';
import type { VisionShape } from '../huggingFace/shape.js';
import type { ModelFolder } from '../modelFiles.js';
import type { OpenTowerOptions, TowerSource } from '../source.js';
import { mlpPooled, type Newline } from './connectors.js';
import { readSiglipShape } from './siglipShape.js';
import { siglipSource } from './siglipSource.js';
import { endingWith, findSiglip } from './tensors.js';

/** Whether a configuration is of the authors' code, with SigLIP as its tower. */
export function isAuthorsOwn({ config, type, visionType }: ModelFolder): boolean {
  const tower = partOf(config, 'mm_vision_tower').value;
  const isSiglip = typeof tower === 'string' && /siglip/i.test(tower);
  return isSiglip && visionType === undefined && (type === 'llava' || type === 'llava_qwen');
}

const fields = v.object({ mm_vision_tower: nonEmptyString });
// What the authors' code takes where the configuration has no value.
const choices = v.object({
  mm_projector_type: v.nullish(v.literal('mlp2x_gelu'), 'mlp2x_gelu'),
  mm_spatial_pool_mode: v.nullish(v.picklist(['bilinear', 'average']), 'bilinear'),
  mm_spatial_pool_stride: v.nullish(v.literal(2), 2),
  mm_newline_position: v.nullish(v.picklist(['one_token', 'grid', 'frame', 'no_token']), 'one_token'),
  add_faster_video: v.nullish(v.literal(false), false),
});

/**
 * Opens the tower with its projector.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`, `ERR_LONGVLM_UNSUPPORTED`
 */
export async function openAuthorsOwn({ config, files }: ModelFolder, options: OpenTowerOptions): Promise<TowerSource> {
  const { mm_vision_tower: tower } = readPart(fields, config);
  const { mm_spatial_pool_mode: pooling, mm_newline_position: place } = readPart(choices, config, unsupportedConfig);
  const whole = await readTower(tower, config.file);
  // The authors' code leaves out the tower's last layer, whatever mm_vision_select_layer says.
  const layers = whole.layers - 1;
  const shape = { ...whole, layers, patchLayers: [layers], normalizes: false, keepsFirst: true };
  const file = await withoutQuantization(await openWeights(files.weights), options);
  const weights = findSiglip(file, shape);
  const { up, down } = findProjector(file, shape.channels);
  const width = down.weight.shape[0]!;
  const newline = place === 'no_token' ? undefined : requireTensor(file, endingWith(file, 'image_newline'), [width]);
  const behind = ({ grid: 'rows', frame: 'frames' } as const)[place as 'grid' | 'frame'] as
    | Newline['behind']
    | undefined;
  const side = Math.sqrt(shape.patches);
  const lines = newline && behind ? { behind, weight: newline } : undefined;
  const connector = mlpPooled(side, { up, down, activation: 'gelu' }, pooling, lines);
  const kind = 'mlp2x_gelu_pooled';
  return siglipSource({
    shape,
    pixels: {
      ...{ mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], rescale: 1 / 255 },
      ...{ resize: 'squash', filter: 'bicubic', shortestEdge: shape.imageSize },
    },
    weights,
    connector: { ...connector, description: { kind, pooling, newline: place } },
    projection: { kind, width, ...(newline && !behind && { ending: newline }) },
    template: 'llava_onevision',
    note: 'each frame is taken as one of a video, pooled and without the tiles that are cut from single images',
  });
}

// The one that they publish models with: a folder of its own is not needed.
const so400m = /(^|\/)siglip-so400m-patch14-384$/;

/** The sizes of the whole tower that a configuration names: a known one, or a folder. */
async function readTower(name: string, file: string): Promise<VisionShape> {
  if (so400m.test(name))
    return {
      ...{ channels: 1152, intermediateSize: 4304, layers: 27, heads: 16, imageSize: 384, patchSize: 14, patches: 729 },
      ...{ activation: 'gelu_pytorch_tanh', layerNormEpsilon: 1e-6 },
    };
  const folder = resolve(dirname(file), name);
  if (await isFolder(folder).catch(() => false))
    return readSiglipShape(await readConfigFile(resolve(folder, 'config.json')));
  throw unsupportedConfig(
    file,
    `its sizes are those of mm_vision_tower ${name}, which is no folder here`,
    'Download that model, and put its path there.',
  );
}

/** @throws as {@link requireTensor} */
function findProjector(file: WeightFile, channels: number) {
  const start = endingWith(file, 'mm_projector.0.weight').slice(0, -'0.weight'.length);
  const layer = (name: string, inputs: number) => {
    const weight = requireTensor(file, `${start}${name}.weight`, [-1, inputs]);
    return { weight, bias: requireTensor(file, `${start}${name}.bias`, [weight.shape[0]!]) };
  };
  const up = layer('0', channels);
  return { up, down: layer('2', up.weight.shape[0]!) };
}
