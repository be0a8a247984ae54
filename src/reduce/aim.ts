import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { aimSettings } from '../kernels/aim.js';
import { type AimOptions, aim as mergeInFrames } from '../kernels/index.js';
import { reportOf, roundToEven, share } from '../kernels/reduction.js';
import type { SegmentShape, VideoReduction } from './reducer.js';
import { concatenated } from './rows.js';
import { embeddingsOf, type VideoMethod, videoKind, withRows } from './videoMethod.js';

type Options = AimOptions & { readonly retentionRatio?: number };

const method: VideoMethod<Options> = {
  name: 'aim',
  options: [],
  gathers: false,
  least: ({ frames }) => [frames, `it keeps at least one of each of ${frames} frames or steps`],
  withTokens: ({ frames }, options, tokens) => ({ ...options, tokensPerFrame: Math.floor(tokens / frames) }),
  count: (video, options) => video.frames * keptOf(video, options),
  start: frameByFrame,
  onDevice: (video, options) => (tokens, call) =>
    mergeInFrames(tokens, { tokensPerFrame: keptOf(video, options), ...call }),
};

/** Tokens that are kept of each frame. */
function keptOf({ patches }: SegmentShape, { retentionRatio, ...options }: Options): number {
  if (retentionRatio !== undefined) return Math.max(1, roundToEven(share(patches, retentionRatio)));
  return Math.min(patches, aimSettings(options).tokensPerFrame);
}

function frameByFrame(video: SegmentShape, options: Options, signal: AbortSignal | undefined): VideoReduction {
  const { frames, patches, channels, width = channels } = video;
  const tokensPerFrame = keptOf(video, options);
  const chunks: Float32Tensor[] = [];
  const positions = new Int32Array(frames * tokensPerFrame);
  const sizes = new Float32Array(positions.length);
  const owners = new Int32Array(frames * patches);
  let seen = 0;
  return {
    async add(tokens) {
      const count = tokens.dims[0]! / patches;
      const embeddings = float32Tensor(embeddingsOf(tokens, video).data, [count, patches, width]);
      const reduced = await mergeInFrames(embeddings, { tokensPerFrame, ...(signal && { signal }) });
      chunks.push(withRows(reduced.tokens as Float32Tensor, reduced.indices, tokens, video));
      positions.set(
        reduced.indices.map((index) => seen * patches + index),
        seen * tokensPerFrame,
      );
      sizes.set(reduced.sizes.data, seen * tokensPerFrame);
      owners.set(
        reduced.owners!.map((owner) => seen * tokensPerFrame + owner),
        seen * patches,
      );
      seen += count;
    },
    async finish() {
      const { report } = reportOf('aim', video, { indices: positions, sizes, dropped: 0 });
      const tokens = concatenated(chunks, channels);
      return { tokens, sizes: float32Tensor(sizes, [sizes.length]), positions, owners, report };
    },
  };
}

/**
 * AIM's merging: inside each frame, bipartite soft matching halves the tokens until the budget is met. Keeps at most the budget:
 * each frame has the same whole share.
 */
export const aim = videoKind(method);
