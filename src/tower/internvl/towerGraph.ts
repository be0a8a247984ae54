// InternVL's vision tower and projector as a graph.
import { type Activation, activate } from '../../compute/activations.js';
import { GraphBuilder, type OnnxModel } from '../../compute/graphBuilder.js';
import type { TensorLocation } from '../../files/tensorFile.js';
import { pixelPatches } from '../pixelPatches.js';
import { pixelShuffle, shuffledMeans } from '../pixelShuffle.js';
import type { PixelNormalization, TowerGraphOptions } from '../source.js';
import { withoutClassToken } from '../transformer/attention.js';
import { LinearProducts } from '../transformer/linearProducts.js';
import { type PatchKernels, patchMatrix } from '../transformer/patchEmbedding.js';
import { type Normalization, normalize, Transformer } from '../transformer/transformer.js';
import type { Affine, LayerWeights } from '../transformer/weights.js';

/** The sizes of InternViT and its projector, and how they compute. */
export type InternvlShape = {
  /** Channels of a patch: C. */
  readonly channels: number;
  readonly intermediateSize: number;
  /** Layers of the whole tower: L. */
  readonly layers: number;
  readonly heads: number;
  /** Width and height of a frame in pixels: S. */
  readonly imageSize: number;
  readonly patchSize: number;
  /** Patches of one frame. */
  readonly patches: number;
  readonly activation: Activation;
  /** Of a layer's tokens. */
  readonly normalization: Normalization;
  /** Epsilon for queries and keys, which are normalised by the root of their mean square; undefined where they are not. */
  readonly queryKeyEpsilon: number | undefined;
  /** Whether queries, keys and values have biases. */
  readonly attentionBias: boolean;
  /** The hidden state whose patches are projected: 0 to L. */
  readonly patchLayer: number;
  /** Whether that state is normalised first. */
  readonly endNorm: boolean;
  /** Rows and columns of patches that make one token: r. */
  readonly factor: number;
  readonly projectorActivation: Activation;
};

export type InternvlWeights = {
  /** [C]. */
  readonly classEmbedding: TensorLocation;
  readonly patchEmbedding: PatchKernels & { readonly bias: TensorLocation };
  /** [patches + 1, C], that of the class first. */
  readonly positionEmbedding: TensorLocation;
  /** Those below the hidden state that is projected. */
  readonly layers: readonly LayerWeights[];
  readonly endNorm: Affine | undefined;
  readonly projector: InternvlProjector;
};

export type InternvlProjector = {
  /** [r·r·C]. */
  readonly norm: Affine;
  /** [D, r·r·C]. */
  readonly first: Affine;
  /** [d, D]. */
  readonly second: Affine;
};

// PyTorch's own, which the authors' projector has.
const projectorEpsilon = 1e-5;

/**
 * InternViT, whose patches are shuffled, normalised and projected by two linear layers, as a graph over weights in place: see
 * {@link TowerSource.graph}. The class token takes part in attention and is then left out. Its own attention, in the last layer that is
 * computed, is averaged over the patches that make a token.
 */
export function buildInternvl(
  { shape, pixels, weights }: { shape: InternvlShape; pixels: PixelNormalization; weights: InternvlWeights },
  options: TowerGraphOptions,
): Promise<OnnxModel> {
  const { precision, input } = options;
  const { channels, factor, imageSize, patches, patchSize } = shape;
  const graph = new GraphBuilder('internvl_vision_tower', precision && { precision });
  const transformer = new Transformer(graph, transformerShape(shape), options);
  let tokens = embed(graph, transformer, shape, weights, input === 'uint8' ? pixels : undefined);
  let attention: string | undefined;
  const [first] = weights.layers;
  if (first) {
    let state = transformer.begin(tokens, first.norm1);
    for (const [index, layer] of weights.layers.entries()) {
      const next = weights.layers[index + 1];
      if (options.attention && !next) attention = transformer.attentionOfFirst(state, layer);
      state = transformer.layer(state, layer, next?.norm1);
    }
    tokens = state.tokens;
  }
  if (weights.endNorm) tokens = normalize(graph, tokens, weights.endNorm, { ...shape.normalization, kind: 'layer' });
  const side = Math.floor(imageSize / patchSize);
  const shuffled = pixelShuffle(graph, transformer.withoutFirst(tokens), { side, channels, factor });
  const projected = project(graph, shuffled, weights.projector, shape.projectorActivation);
  const [width] = weights.projector.second.weight.shape as [number];
  const dims = [patches / factor ** 2, width] as const;
  const output = graph.node('Reshape', [projected, graph.integers([-1, ...dims])]);
  graph.output('patches', output, ['frames', ...dims]);
  if (attention !== undefined) {
    const ofPatches = withoutClassToken(graph, attention);
    graph.output('attention', shuffledMeans(graph, ofPatches, { side, factor }), ['frames', dims[0]]);
  }
  return graph.build();
}

function transformerShape({ channels, heads, patches, activation, normalization, queryKeyEpsilon }: InternvlShape) {
  return {
    ...{ channels, heads, tokens: patches + 1, activation },
    ...{ epsilon: normalization.epsilon, normalization: normalization.kind },
    ...(queryKeyEpsilon !== undefined && { headNormalization: { kind: 'rms', epsilon: queryKeyEpsilon } as const }),
  };
}

/** Hidden state 0 [n·(patches + 1), C]: class, patch and position embeddings. */
function embed(
  graph: GraphBuilder,
  transformer: Transformer,
  shape: InternvlShape,
  { classEmbedding, patchEmbedding, positionEmbedding }: InternvlWeights,
  normalization: PixelNormalization | undefined,
): string {
  const { pixels, patches: rows } = pixelPatches(graph, shape, normalization);
  const products = graph.node('Gemm', [rows, patchMatrix(graph, patchEmbedding)], { transB: 1 });
  const embeddings = graph.node('Add', [products, graph.weight(patchEmbedding.bias)]);
  const frames = graph.node('Shape', [pixels], { start: 0, end: 1 });
  const repeated = graph.node('Concat', [frames, graph.integers([1, shape.channels])], { axis: 0 });
  const first = graph.node('Expand', [graph.weight(classEmbedding), repeated]);
  const embedded = graph.node('Concat', [first, transformer.batched(embeddings, shape.patches)], { axis: 1 });
  return transformer.flat(graph.node('Add', [embedded, graph.weight(positionEmbedding)]));
}

// Its matrices are not rounded: they are a hundredth of the work, and what they give goes to the language model as it is.
function project(graph: GraphBuilder, tokens: string, projector: InternvlProjector, activation: Activation): string {
  const { norm, first, second } = projector;
  const products = new LinearProducts(graph, undefined);
  const normalized = normalize(graph, tokens, norm, { kind: 'layer', epsilon: projectorEpsilon });
  return products.linear(activate(graph, activation, products.linear(normalized, first)), second);
}
