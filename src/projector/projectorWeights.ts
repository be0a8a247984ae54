// Finding a projector's tensors by the names that LLaVA, LongVLM and llama.cpp save them under.
import { LongVLMError } from '../base/errors.js';
import { withoutQuantization } from '../cache/withoutQuantization.js';
import { MmprojFields } from '../files/mmprojFields.js';
import { openWeights } from '../files/openWeights.js';
import { requireTensor } from '../files/requireTensor.js';
import { type TensorLocation, tensorNames, type WeightFile, weightsError } from '../files/tensorFile.js';
import { namesOf, projectorName } from '../files/tensorNames.js';

/** One linear layer: weight [out, in], bias [out]. */
export type LinearWeights = { readonly weight: TensorLocation; readonly bias: TensorLocation };

/** One linear layer, or two with GELU between. */
export type ProjectorWeights = { readonly kind: 'linear' | 'mlp2x_gelu'; readonly layers: readonly LinearWeights[] };

// What stands between a projector's name and `weight` or `bias`, layer by layer. Of `0` and `2`, 1 is GELU.
const layouts: Readonly<Record<string, readonly (readonly string[])[]>> = {
  mm_projector: [[''], ['0.', '2.']],
  mm: [['0.'], ['0.', '2.']],
  multi_modal_projector: [['linear_1.', 'linear_2.']],
};

/**
 * The projector in any file of weights.
 * @throws as {@link findProjectorWeights}; LongVLMError `ERR_LONGVLM_FILE` when it cannot be read; `signal.reason`.
 */
export async function openProjector(path: string, signal?: AbortSignal): Promise<ProjectorWeights> {
  const file = await openWeights(path);
  if (file.format === 'gguf') new MmprojFields(file);
  return findProjectorWeights(await withoutQuantization(file, signal));
}

/**
 * The projector in `file`, whatever stands before its names and whatever else the file holds.
 *
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` that names the tensor which is missing, or of a wrong shape or type;
 * `ERR_LONGVLM_UNSUPPORTED` for other kinds of projector.
 */
export function findProjectorWeights(file: WeightFile): ProjectorWeights {
  const names = namesOf('projector', tensorNames(file));
  if (names.length === 0)
    throw weightsError(file.path, 'tensor mm_projector.weight is missing', "Give a projector's weights.");
  const [prefix, kind] = projectorName.exec(names[0]!)!;
  const places = names.map((name) => name.slice(prefix.length)).sort();
  // The first layout that has a place for the first tensor that is there, and for all others unless none has.
  const candidates = layouts[kind!]!.filter((layers) => layers.some((layer) => isIn(places[0]!, layer)));
  const layers = candidates.find((found) => places.every((place) => found.some((layer) => isIn(place, layer))));
  if (layers === undefined) {
    const known = candidates.at(-1) ?? [];
    const other = places.find((place) => !known.some((layer) => isIn(place, layer)))!;
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `${file.path}: tensor ${prefix}${other} belongs to a kind of projector that is not supported. Use a linear projector, or one of two layers with GELU.`,
    );
  }
  return {
    kind: layers.length === 1 ? 'linear' : 'mlp2x_gelu',
    layers: chain(
      file,
      layers.map((layer) => prefix + layer),
    ),
  };
}

function isIn(place: string, layer: string): boolean {
  return place === `${layer}weight` || place === `${layer}bias`;
}

/** The layers' tensors, each layer as wide as the one before it gives. */
function chain(file: WeightFile, prefixes: readonly string[]): LinearWeights[] {
  let inputs = -1;
  return prefixes.map((prefix) => {
    const weight = requireTensor(file, `${prefix}weight`, [-1, inputs]);
    const outputs = weight.shape[0]!;
    inputs = outputs;
    return { weight, bias: requireTensor(file, `${prefix}bias`, [outputs]) };
  });
}
