import type { GraphBuilder } from '../../compute/graphBuilder.js';
import type { TensorLocation } from '../../files/tensorFile.js';
import type { QwenShape } from './shape.js';
import type { StepPatches } from './stepPatches.js';

/**
 * Patches through the kernels: [n·patches, C].
 * @param kernels for consecutive frames of a step: one for all, [C, 3, F, P, P], or one for each, [C, 3, P, P]
 */
export function embedPatches(
  graph: GraphBuilder,
  { patches, order }: StepPatches,
  { channels, patchSize, framesPerStep }: Pick<QwenShape, 'channels' | 'patchSize' | 'framesPerStep'>,
  kernels: readonly TensorLocation[],
): string {
  const area = patchSize * patchSize;
  const parts = kernels.map((kernel) =>
    graph.weight({ ...kernel, shape: [channels, 3, framesPerStep / kernels.length, area] }),
  );
  const whole = parts.length === 1 ? parts[0]! : graph.node('Concat', parts, { axis: 2 });
  const turned = order === 'channels last' ? graph.node('Transpose', [whole], { perm: [0, 2, 3, 1] }) : whole;
  const matrix = graph.node('Reshape', [turned, graph.integers([channels, 3 * framesPerStep * area])]);
  return graph.node('Gemm', [patches, matrix], { transB: 1 });
}
