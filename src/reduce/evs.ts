import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { evsCount } from '../kernels/evs.js';
import { type EvsOptions, evs as evsOfAll, selectTopK, temporalSimilarity } from '../kernels/index.js';
import { reportOf } from '../kernels/reduction.js';
import type { SegmentShape, VideoReduction } from './reducer.js';
import { concatenated, rowsOf } from './rows.js';
import { embeddingsOf, tokensOf, type VideoMethod, videoKind } from './videoMethod.js';

const method: VideoMethod<EvsOptions> = {
  name: 'evs',
  options: [],
  gathers: false,
  least: ({ patches }) => [patches, `it keeps all ${patches} of the first frame or step`],
  // In the middle between two numbers, so that no rounding of the ratio makes it another.
  withTokens: (video, options, tokens) => ({
    ...options,
    retentionRatio: Math.min(1, (tokens + 0.5) / tokensOf(video)),
  }),
  count: (video, { retentionRatio }) => evsCount(video, retentionRatio),
  start: mostChanged,
  onDevice: (_, options) => (tokens, call) => evsOfAll(tokens, { ...options, ...call }),
};

/** Tokens of later frames that may be kept. */
type Candidates = { readonly tokens: Float32Tensor; readonly positions: Int32Array; readonly changes: Float32Array };

/** Keeps the first frame, and the tokens that changed most so far: no more memory than for these, and for what is added. */
function mostChanged(
  video: SegmentShape,
  { retentionRatio }: EvsOptions,
  signal: AbortSignal | undefined,
): VideoReduction {
  const { patches, channels, width = channels } = video;
  const count = evsCount(video, retentionRatio);
  const own = signal && { signal };
  let first: Float32Tensor | undefined;
  // The embeddings of the last frame.
  let before = new Float32Array(0);
  let seen = 0;
  let kept: Candidates = {
    tokens: float32Tensor(new Float32Array(0), [0, channels]),
    positions: new Int32Array(0),
    changes: new Float32Array(0),
  };
  return {
    async add(tokens) {
      const { data } = embeddingsOf(tokens, video);
      const compared = new Float32Array(before.length + data.length);
      compared.set(before);
      compared.set(data, before.length);
      const frames = compared.length / (patches * width);
      const { similarities } = await temporalSimilarity(float32Tensor(compared, [frames, patches, width]), own);
      const changes = similarities.data.map((cosine) => 1 - cosine);
      first ??= float32Tensor(tokens.data.slice(0, patches * channels), [patches, channels]);
      const skipped = seen === 0 ? patches : 0;
      const added = {
        tokens: float32Tensor(tokens.data.subarray(skipped * channels), [tokens.dims[0]! - skipped, channels]),
        positions: Int32Array.from(changes, (_, index) => seen + skipped + index),
        changes,
      };
      kept = await best(kept, added, count - patches, own);
      before = data.slice(data.length - patches * width);
      seen += tokens.dims[0]!;
    },
    async finish() {
      const tokens = concatenated([first!, kept.tokens], channels);
      const positions = new Int32Array(count);
      for (let index = 0; index < patches; index++) positions[index] = index;
      positions.set(kept.positions, patches);
      const sizes = new Float32Array(count).fill(1);
      const dropped = tokensOf(video) - count;
      const { report } = reportOf('evs', video, { indices: positions, sizes, dropped });
      return { tokens, sizes: float32Tensor(sizes, [count]), positions, report };
    },
  };
}

/** Of the candidates so far and those added, the `most` that changed most; of equal ones the first. */
async function best(
  kept: Candidates,
  added: Candidates,
  most: number,
  own: { readonly signal: AbortSignal } | undefined,
): Promise<Candidates> {
  const changes = new Float32Array(kept.changes.length + added.changes.length);
  if (changes.length === 0 || most === 0) return kept;
  changes.set(kept.changes);
  changes.set(added.changes, kept.changes.length);
  const scores = float32Tensor(changes, [1, changes.length]);
  const chosen = await selectTopK(scores, Math.min(most, changes.length), own);
  // Ascending, so that those of before are the first.
  const old = chosen.filter((index) => index < kept.changes.length);
  const fresh = chosen.subarray(old.length).map((index) => index - kept.changes.length);
  const of = <Each extends Int32Array | Float32Array>(before: Each, now: Each) =>
    [...Array.from(old, (index) => before[index]!), ...Array.from(fresh, (index) => now[index]!)] as number[];
  return {
    tokens: concatenated([rowsOf(kept.tokens, old), rowsOf(added.tokens, fresh)], added.tokens.dims[1]!),
    positions: Int32Array.from(of(kept.positions, added.positions)),
    changes: Float32Array.from(of(kept.changes, added.changes)),
  };
}

/** EVS: the first frame, and what changed most since the frame before. Keeps exactly the budget. */
export const evs = videoKind(method);
