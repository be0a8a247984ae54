// How many tokens methods and budgets would leave of a video, before anything of it is read.
import { messageOf } from '../base/errors.js';
import { checkNumber } from '../base/validate.js';
import type { SamplingRequest } from '../encode/sampling.js';
import { checkVideoPart, type VideoPart } from '../encode/videoFeatures.js';
import type { LongVLM } from '../longvlm.js';
import { reductionNames } from '../reduce/reducers.js';
import type { PlannedMethod, PlannedTokens, TokenPlan } from './tokenPlan.js';

/** Options of {@link planTokens}. */
export type PlanOptions = {
  /** How the video is sampled. Its own values count for all methods, as far as they have them. */
  readonly sampling?: SamplingRequest | undefined;
  /** Budgets of tokens of the whole video. Defaults to 64, 128, 256, 512, 1024, 2048 and 4096. */
  readonly budgets?: readonly number[] | undefined;
  readonly part?: VideoPart | undefined;
  /** Seconds of the video, for sampling by frames per second. Defaults to not known. */
  readonly duration?: number | undefined;
};

const usualBudgets = [64, 128, 256, 512, 1024, 2048, 4096];

/**
 * How many tokens are left of a video, by each method and for several budgets. Nothing is read or decoded.
 * @throws TypeError or RangeError for a wrong option
 */
export function planTokens(vlm: LongVLM, options: PlanOptions = {}): TokenPlan {
  const { sampling = {}, budgets = usualBudgets, part = 'both', duration } = options;
  checkVideoPart(part);
  if (duration !== undefined) checkNumber('duration', duration, 0);
  const { encoder } = vlm;
  const { tokens, tokensPerSegment, reduction: _, reductionOptions, ...frames } = sampling;
  const settled = encoder.settle(sampling);
  const known = settled.frames ?? framesOf(settled, duration);
  const fixed: SamplingRequest = { ...frames, ...(known !== undefined && { fps: undefined, frames: known }) };
  delete fixed.maxFrames;
  const count = (request: SamplingRequest): PlannedTokens => {
    try {
      return { tokens: vlm.tokenCountOf(part, { ...fixed, ...request }) };
    } catch (error) {
      return { problem: messageOf(error) };
    }
  };
  const own = { ...(tokens !== undefined && { tokens }), ...(tokensPerSegment !== undefined && { tokensPerSegment }) };
  const ofMethod = (given: SamplingRequest, reduction: string): PlannedMethod => ({
    reduction,
    own: count({ ...given, ...own }),
    budgets: budgets.map((budget) => ({ budget, ...count({ ...given, tokens: budget }) })),
  });
  const { cell, patches, framesPerStep = 1 } = encoder.config;
  const segment = settled.readFrames ?? settled.segmentFrames;
  const asked = { ...(sampling.reduction !== undefined && { reduction: sampling.reduction }) };
  return {
    object: 'inspection.plan',
    ...(known !== undefined && { frames: known, segments: known / segment }),
    ...(!cell && { patches: ((known ?? segment) / framesPerStep) * patches }),
    global: settled.globalLayers,
    ...(vlm.models.llm && { context: vlm.models.llm.trainContextSize }),
    asked: ofMethod({ ...asked, ...(reductionOptions && { reductionOptions }) }, settled.reduction),
    methods: reductionNames().map((reduction) => ofMethod({ reduction }, reduction)),
  };
}

type Rate = ReturnType<LongVLM['encoder']['settle']>;

/** Frames by frames per second, in whole segments. */
function framesOf({ fps, maxFrames, readFrames, segmentFrames, start = 0, end }: Rate, duration: number | undefined) {
  if (fps === undefined || duration === undefined) return undefined;
  const segment = readFrames ?? segmentFrames;
  const seconds = Math.max(0, Math.min(end ?? duration, duration) - start);
  const most = Math.floor((maxFrames ?? Number.POSITIVE_INFINITY) / segment);
  return Math.max(1, Math.min(Math.round((seconds * fps) / segment), most)) * segment;
}
