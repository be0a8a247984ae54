// How many frames go through a tower's graph at once.
import type { VisionPrecision } from './precision.js';
import type { FrameShape, TowerShape } from './source.js';

// With ViT-L, two frames at a time are as fast as ten on a CPU: products of some hundred rows already use all cores. Larger
// batches only take more memory, and delay aborts.
const cpuTokens = 512;

// A GPU needs many more rows: 50 frames of ViT-L/14 at 224 px, 22 at 336 px. In float32, 20 and 9 are as fast on an H200, and fit
// into the memory that a graph may take.
const gpuTokens = 12_800;
const gpuTokensInFloat32 = 5120;

// Towers that give fewer tokens than they compute with are taken to have patches of that size.
const usualPatch = 14;

/** Frames at once on a CPU. A tower that ends with its projector may give far fewer tokens than it computes with. */
export function cpuBatch(
  { patches, imageSize }: TowerShape & { readonly imageSize: number },
  projects: boolean,
): number {
  const computed = projects ? Math.max(patches, (imageSize / usualPatch) ** 2) : patches;
  return Math.max(1, Math.floor(cpuTokens / computed));
}

/** Frames at once on a GPU, if they fit into its memory. */
export function gpuBatch(
  { patches, width, height }: Pick<FrameShape, 'patches' | 'width' | 'height'>,
  precision: VisionPrecision,
): number {
  const tokens = precision === 'float16' ? gpuTokens : gpuTokensInFloat32;
  return Math.max(1, Math.floor(tokens / Math.max(patches, (width / usualPatch) * (height / usualPatch))));
}
