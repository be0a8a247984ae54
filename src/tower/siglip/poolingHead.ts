// The pooling head of a SigLIP: one learned query, the probe, attends to all patches. Only its attention is computed.
import type { GraphBuilder } from '../../compute/graphBuilder.js';
import { requireTensor } from '../../files/requireTensor.js';
import type { TensorLocation, WeightFile } from '../../files/tensorFile.js';
import type { VisionShape } from '../huggingFace/shape.js';
import { attentionOf } from '../transformer/attention.js';
import { LinearProducts } from '../transformer/linearProducts.js';
import { normalize } from '../transformer/transformer.js';
import { type Affine, splitAttention, tensorsIn } from '../transformer/weights.js';

/** What the head's attention depends on. */
export type PoolingHead = {
  /** The normalisation of hidden states before it. */
  readonly norm: Affine;
  /** [1, 1, C]. */
  readonly probe: TensorLocation;
  readonly query: Affine;
  readonly key: Affine;
};

/**
 * The head in a file; undefined where it has none.
 * @param prefix of the tower's tensors
 * @throws as {@link requireTensor}
 */
export function findPoolingHead(file: WeightFile, prefix: string, channels: number): PoolingHead | undefined {
  const names = ['head.probe', 'head.attention.in_proj_weight', 'head.attention.in_proj_bias'].map(
    (name) => prefix + name,
  );
  const norms = ['weight', 'bias'].map((name) => `${prefix}post_layernorm.${name}`);
  if (![...names, ...norms].every((name) => file.tensors.has(name))) return undefined;
  const [probe, weight, bias] = [[1, 1, channels], [3 * channels, channels], [3 * channels]].map((dims, index) =>
    requireTensor(file, names[index]!, dims),
  );
  const norm = norms.map((name) => requireTensor(file, name, [channels]));
  const { query, key } = splitAttention({ weight: weight!, bias: bias! });
  return { norm: { weight: norm[0]!, bias: norm[1]! }, probe: probe!, query, key };
}

export function poolingTensors({ norm, probe, query, key }: PoolingHead): TensorLocation[] {
  return tensorsIn([norm, probe, query, key]);
}

/**
 * The attention of the probe to each of a frame's patches: [n, N].
 * @param state [n·N, C], the hidden state that the patches are, not normalised
 */
export function poolingAttention(
  graph: GraphBuilder,
  state: string,
  { norm, probe, query, key }: PoolingHead,
  { channels, heads, patches, layerNormEpsilon: epsilon }: VisionShape,
): string {
  const products = new LinearProducts(graph, undefined);
  const asked = products.linear(graph.weight({ ...probe, shape: [1, channels] }), query);
  const keys = products.linear(normalize(graph, state, norm, { kind: 'layer', epsilon }), key);
  const batched = graph.node('Reshape', [keys, graph.integers([-1, patches, channels])]);
  return attentionOf(graph, asked, batched, { channels, heads, tokens: patches });
}
