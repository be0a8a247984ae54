// Cuts frames into patches without a convolution, which on a GPU would need a library of its own (cuDNN).
import type { GraphBuilder } from '../compute/graphBuilder.js';
import { dataTypes } from '../compute/onnxProto.js';
import { normalizationTable } from './pixels.js';
import type { PixelNormalization } from './source.js';

/** How frames are cut. */
export type PatchCut = {
  /** Width and height of a frame in pixels: S. What does not fill a patch, on the right and below, is left out. */
  readonly imageSize: number;
  /** Width and height of a patch in pixels: P. */
  readonly patchSize: number;
};

/** An input of pixels and their patches, as names of a graph's values. */
export type PixelPatches = { readonly pixels: string; readonly patches: string };

/**
 * Adds an input `pixels` to the graph: bytes [n, S, S, 3], or, without `normalization`, normalised values [n, 3, S, S]. Cuts it
 * into normalised patches [n·N, P·P·3], frame after frame and row after row.
 */
export function pixelPatches(
  graph: GraphBuilder,
  cut: PatchCut,
  normalization: PixelNormalization | undefined,
): PixelPatches {
  const { imageSize, patchSize } = cut;
  const ofBytes = normalization !== undefined;
  const pixels = ofBytes
    ? graph.input('pixels', ['frames', imageSize, imageSize, 3], 'uint8')
    : graph.input('pixels', ['frames', 3, imageSize, imageSize]);
  const count = patchSize * patchSize * 3;
  const split = patchesOf(graph, pixels, cut, ofBytes ? 'last' : 'first');
  const patches = graph.node('Reshape', [split, graph.integers([-1, count])]);
  return { pixels, patches: ofBytes ? normalized(graph, patches, count, normalization) : patches };
}

/** Patches as [n, rows, columns, P, P, 3]: with the channels last, bytes are copied in stretches of 3·P. */
function patchesOf(
  graph: GraphBuilder,
  pixels: string,
  { imageSize, patchSize }: PatchCut,
  channels: 'first' | 'last',
): string {
  const side = Math.floor(imageSize / patchSize);
  const whole = side * patchSize;
  const isFirst = channels === 'first';
  const bounds = [[0, 0], [whole, whole], isFirst ? [2, 3] : [1, 2]].map((list) => graph.integers(list));
  const square = whole === imageSize ? pixels : graph.node('Slice', [pixels, ...bounds]);
  const sizes = [side, patchSize, side, patchSize];
  const split = graph.node('Reshape', [square, graph.integers(isFirst ? [-1, 3, ...sizes] : [-1, ...sizes, 3])]);
  return graph.node('Transpose', [split], { perm: isFirst ? [0, 2, 4, 3, 5, 1] : [0, 1, 3, 2, 4, 5] });
}

/** Bytes [n·N, P·P·3], normalised by a table of all 256 values of each channel, so that results equal rounded float64 arithmetic. */
export function normalized(
  graph: GraphBuilder,
  bytes: string,
  count: number,
  normalization: PixelNormalization,
): string {
  // Start of each value's section of the table; whole rows of them are added faster than threes.
  const starts = graph.integers(Array.from({ length: count }, (_, index) => 256 * (index % 3)));
  const [values, sections] = [bytes, starts].map((each) => graph.node('Cast', [each], { to: dataTypes.I32 }));
  const table = graph.floats(normalizationTable(normalization), [768]);
  return graph.node('Gather', [table, graph.node('Add', [values!, sections!])], { axis: 0 });
}
