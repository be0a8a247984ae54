// Finding a projector's tensors by the names that LLaVA and LongVLM save them under.
import { LongVLMError } from '../errors.js';
import { requireTensor } from '../weights/requireTensor.js';
import { type TensorLocation, type WeightFile, weightsError } from '../weights/tensorFile.js';

/** One linear layer: weight [out, in], bias [out]. */
export type LinearWeights = { readonly weight: TensorLocation; readonly bias: TensorLocation };

/** One linear layer, or two with GELU between. */
export type ProjectorWeights = { readonly kind: 'linear' | 'mlp2x_gelu'; readonly layers: readonly LinearWeights[] };

const projectorName = /^(.+\.)?mm_projector\./;

/**
 * The projector in `file`, whatever stands before its names and whatever else the file holds.
 *
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` that names the tensor which is missing, or of a wrong shape or type;
 * `ERR_LONGVLM_UNSUPPORTED` for other kinds of projector.
 */
export function findProjectorWeights(file: WeightFile): ProjectorWeights {
  const names = [...file.tensors.keys()].filter((name) => projectorName.test(name));
  if (names.length === 0)
    throw weightsError(file.path, 'tensor mm_projector.weight is missing', "Give a projector's weights.");
  const prefix = projectorName.exec(names[0]!)![0];
  const places = names.map((name) => name.slice(prefix.length)).sort();
  // A linear projector has no numbers in its names; an MLP's linear layers are 0 and 2, GELU being 1.
  const kind = places.some((place) => place.startsWith('0.')) ? 'mlp2x_gelu' : 'linear';
  const layers = kind === 'linear' ? [''] : ['0.', '2.'];
  const expected = layers.flatMap((layer) => [`${layer}weight`, `${layer}bias`]);
  const other = places.find((place) => !expected.includes(place));
  if (other !== undefined)
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `${file.path}: tensor ${prefix}${other} belongs to a kind of projector that is not supported. Use a linear projector, or one of two layers with GELU.`,
    );
  return {
    kind,
    layers: chain(
      file,
      layers.map((layer) => prefix + layer),
    ),
  };
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
