// A SigLIP tower, with or without a connector, as a source.
import { visionPrecisions } from '../precision.js';
import type { PixelRules, Projection, TowerSource } from '../source.js';
import { linearMatrices } from '../transformer/weights.js';
import { poolingTensors } from './poolingHead.js';
import {
  buildSiglip,
  type Connector,
  type SiglipShape,
  type SiglipWeights,
  siglipTensors,
  tokensOf,
} from './towerGraph.js';

/** A SigLIP tower as its files describe it. */
export type SiglipParts = {
  readonly shape: SiglipShape;
  readonly pixels: Omit<PixelRules, 'imageSize'>;
  readonly weights: SiglipWeights;
  readonly note?: string | undefined;
  /** What makes embeddings of its tokens, and everything but its tensors that these depend on. */
  readonly connector?: Connector & { readonly description: object };
  readonly projection?: Projection;
  readonly template?: string;
  readonly patchStates?: TowerSource['patchStates'];
};

export function siglipSource(parts: SiglipParts): TowerSource {
  const { shape, pixels, weights, connector, projection, note, template, patchStates } = parts;
  const { imageSize, patchSize, layers, heads, patchLayers } = shape;
  const count = connector?.count ?? tokensOf(shape);
  const side = Math.sqrt(count);
  const attends = weights.pool !== undefined && (connector === undefined || connector.pool !== undefined);
  const ending = projection?.ending ? [projection.ending] : [];
  return {
    config: {
      patches: count,
      grid: connector?.grid ?? (Number.isInteger(side) ? [side, side] : [1, count]),
      channels: connector?.width ?? shape.channels * patchLayers.length,
      summaries: 0,
      // Embeddings are compared whole: their channels are not those of the tower's heads.
      heads: connector ? 1 : heads * patchLayers.length,
      imageSize,
      ...pixels,
      ...(attends && { attention: 'pooling' }),
    },
    details: {
      ...{ patchSize, layers, heads },
      ...(patchLayers.length === 1 ? { patchLayer: patchLayers[0]! } : { patchLayers: patchLayers.join(', ') }),
      ...(note !== undefined && { note }),
    },
    description: { family: 'siglip', ...shape, ...pixels, ...(connector && { connector: connector.description }) },
    tensors: [...siglipTensors(weights), ...(connector?.tensors ?? []), ...ending],
    ...(attends && { attentionTensors: poolingTensors(weights.pool!) }),
    linear: linearMatrices(weights.layers),
    precisions: visionPrecisions,
    ...(projection && { projection }),
    ...(template !== undefined && { template }),
    ...(patchStates && { patchStates }),
    graph: (options) => buildSiglip({ shape, pixels, weights, connector }, options),
  };
}
