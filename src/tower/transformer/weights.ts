// The weights of a transformer encoder, where they lie in files.
import type { TensorLocation } from '../../files/tensorFile.js';

/** A linear layer ([out, in] and, unless it has none, [out]) or the scale and shift of a normalisation ([C] and [C] or none). */
export type Affine = { readonly weight: TensorLocation; readonly bias?: TensorLocation | undefined };

/** One layer. Its attention has three biases or none. */
export type LayerWeights = {
  readonly norm1: Affine;
  readonly query: Affine;
  readonly key: Affine;
  readonly value: Affine;
  /** Normalise queries and keys before attention, over all channels ([C]) or over those of each head ([C / heads]). */
  readonly queryNorm?: Affine | undefined;
  readonly keyNorm?: Affine | undefined;
  readonly out: Affine;
  /** Scales what attention adds: [C]. */
  readonly scale1?: TensorLocation | undefined;
  readonly norm2: Affine;
  readonly up: Affine;
  /** What is activated and multiplied to what `up` gives, which is then not activated itself (SwiGLU and its kin). */
  readonly gate?: Affine | undefined;
  readonly down: Affine;
  /** Scales what the MLP adds: [C]. */
  readonly scale2?: TensorLocation | undefined;
};

/** Every tensor of `parts`, in their order. */
export function tensorsIn(parts: readonly (TensorLocation | Affine | undefined)[]): TensorLocation[] {
  return parts.flatMap((part) => {
    if (part === undefined) return [];
    if ('name' in part) return [part];
    return part.bias ? [part.weight, part.bias] : [part.weight];
  });
}

/** Every tensor of the layers, in the order of their graph. */
export function layerTensors(layers: readonly LayerWeights[]): TensorLocation[] {
  return tensorsIn(layers.flatMap((layer) => Object.values(layer)));
}

/** The matrices of the linear layers. */
export function linearMatrices(layers: readonly LayerWeights[]): TensorLocation[] {
  return layers.flatMap(({ query, key, value, out, up, gate, down }) =>
    [query, key, value, out, up, ...(gate ? [gate] : []), down].map(({ weight }) => weight),
  );
}

/** Views of `count` equal parts of a tensor's rows, such as queries, keys and values [C, C] in a tensor [3·C, C]. */
export function splitRows(tensor: TensorLocation, count: number): TensorLocation[] {
  const [rows, ...rest] = tensor.shape as [number, ...number[]];
  const byteLength = tensor.byteLength / count;
  return Array.from({ length: count }, (_, index) => ({
    ...tensor,
    name: `${tensor.name}[${index}]`,
    shape: [rows / count, ...rest],
    offset: tensor.offset + index * byteLength,
    byteLength,
  }));
}

/** Queries, keys and values of a layer where one linear layer [3·C, C] makes all of them. */
export function splitAttention({ weight, bias }: Affine): Pick<LayerWeights, 'query' | 'key' | 'value'> {
  const weights = splitRows(weight, 3);
  const biases = bias && splitRows(bias, 3);
  const [query, key, value] = weights.map((part, index) => ({ weight: part, bias: biases?.[index] }));
  return { query: query!, key: key!, value: value! };
}
