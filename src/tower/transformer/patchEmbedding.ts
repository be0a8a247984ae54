// The patch embedding of vision towers: a linear layer over the pixels of each patch.
import type { GraphBuilder } from '../../compute/graphBuilder.js';
import type { TensorLocation, WeightFile } from '../../files/tensorFile.js';

/** Kernels [C, 3, P, P], or [C, P, P, 3] if the channels come last. */
export type PatchKernels = { readonly weight: TensorLocation; readonly channelsLast: boolean };

/** The kernels as a matrix [C, P·P·3], for the patches that {@link pixelPatches} cuts. */
export function patchMatrix(graph: GraphBuilder, { weight, channelsLast }: PatchKernels): string {
  const [channels, ...rest] = weight.shape as [number, ...number[]];
  const values = rest.reduce((product, size) => product * size, 1);
  // The same bytes under other dims.
  const stored = (shape: readonly number[]) => graph.weight({ ...weight, shape });
  if (channelsLast) return stored([channels, values]);
  const turned = graph.node('Transpose', [stored([channels, 3, values / 3])], { perm: [0, 2, 1] });
  return graph.node('Reshape', [turned, graph.integers([channels, values])]);
}

/** The dims of kernels in a file: Hugging Face's, or those of MLX, whose channels come last. */
export function kernelDims(file: WeightFile, name: string, channels: number, patchSize: number) {
  const last = [channels, patchSize, patchSize, 3];
  const channelsLast = patchSize !== 3 && file.tensors.get(name)?.shape.join() === last.join();
  return { channelsLast, dims: channelsLast ? last : [channels, 3, patchSize, patchSize] };
}
