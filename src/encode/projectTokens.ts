import type { Float32Tensor } from '../base/tensor.js';
import type { Projector } from '../projector/projector.js';
import type { VideoFeatures, VideoPart } from './videoFeatures.js';

/** Projects a video's tokens where they are: on a GPU if they have not come down from there. Throws as {@link Projector.project}. */
export async function projectTokens(
  projector: Projector,
  features: VideoFeatures,
  part: VideoPart,
  signal: AbortSignal | undefined,
): Promise<Float32Tensor> {
  const onDevice = features.tokensOnDevice(part);
  if (!onDevice) return projector.project(features.tokens(part), { ...(signal && { signal }) });
  try {
    return await projector.projectOnDevice(onDevice, signal);
  } finally {
    onDevice.dispose();
  }
}
