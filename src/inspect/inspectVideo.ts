// Looks at what a language model sees of a video.
import { basename } from 'node:path';
import { readOptions } from '../base/options.js';
import type { Scheduler } from '../base/scheduler.js';
import { checkInteger, checkSignal, checkString, wrongType } from '../base/validate.js';
import { ownersOf } from '../encode/owners.js';
import { tokensOf } from '../encode/runs.js';
import type { SamplingRequest } from '../encode/sampling.js';
import { checkVideoPart, featuresOf, type VideoFeatures } from '../encode/videoFeatures.js';
import { type ChatOptions, LongVLM } from '../longvlm.js';
import type { Video } from '../video/openVideo.js';
import type { VideoInput } from '../video/videoInput.js';
import { type InspectedSegment, type Inspection, writeOwners } from './inspection.js';
import type { Picture } from './jpeg.js';
import { readThumbnails, type Thumbnail } from './thumbnails.js';

/** Options of {@link inspectVideo}: those of a chat, and what to show. */
export type InspectOptions = Omit<ChatOptions, 'temperature' | 'contextSize'> & {
  /** A question that the prompt is shown with. Defaults to `…`. */
  question?: string | undefined;
  /** Pixels of the longer edge of frames, `0` for none, at most 512. Defaults to `112`. */
  thumbnails?: number | undefined;
};

const optionNames = [
  ...(['sampling', 'limits', 'cache', 'onProgress', 'signal', 'part', 'template', 'system', 'timestamps'] as const),
  ...(['question', 'thumbnails'] as const),
];

/** An inspection, and the frames in it as pixels, which are painted without a browser. */
export type Sight = { readonly inspection: Inspection; readonly pictures: readonly Picture[] };

/**
 * What a language model sees of a video: its segments and their frames, which patches became which token, and the prompt. The video
 * is encoded unless its features are cached; then its frames are read once more. {@link Inspection} is plain JSON.
 *
 * All methods tell which patches went into which token, where the video was reduced on the host. With `fastvid` a patch may have gone
 * into tokens of several frames: it is shown with that of the nearest.
 *
 * @param video what {@link LongVLM.encode} takes; or features, of which no frames are shown
 * @throws as {@link LongVLM.encode}; LongVLMError `ERR_LONGVLM_MISMATCH` for features of another tower
 * @example
 * const inspection = await inspectVideo(vlm, 'talk.mp4', { sampling: { tokens: 512 } });
 * console.log(inspection.segments[0].sizes); // how many patches each token stands for
 */
export async function inspectVideo(
  vlm: LongVLM,
  video: VideoInput | VideoFeatures,
  options: InspectOptions = {},
): Promise<Inspection> {
  return (await lookAt(vlm, video, options)).inspection;
}

/** As {@link inspectVideo}, with the pixels of thumbnails. */
export async function lookAt(
  vlm: LongVLM,
  video: VideoInput | VideoFeatures,
  options: InspectOptions & { scheduler?: Scheduler },
): Promise<Sight> {
  if (!(vlm instanceof LongVLM)) wrongType('vlm', 'LongVLM', vlm);
  const given = readOptions(options, optionNames);
  const { question = '…', thumbnails = 112, part = 'both', signal } = given;
  checkString('question', question);
  checkInteger('thumbnails', thumbnails, 0, 512);
  checkVideoPart(part);
  checkSignal(signal);
  const { scheduler } = options;
  const encoded = featuresOf(video);
  encoded?.checkTower(vlm.tower);
  let frames: readonly Thumbnail[] = [];
  const whileOpen = async (opened: Video, features: VideoFeatures) => {
    if (thumbnails === 0) return;
    const reading = readingOf(vlm, features, given.sampling);
    frames = await readThumbnails(opened, reading, thumbnails, signal, scheduler);
  };
  const { sampling, limits, cache, onProgress } = given;
  const features =
    encoded ??
    (await vlm.encoder.encodePlanned(video as VideoInput, {
      ...{ sampling, limits, cache, onProgress, signal, scheduler, whileOpen },
      owners: true,
    }));
  await features.bringDown();
  const notes = encoded && thumbnails > 0 ? ['Features hold no frames: give the video to see them.'] : [];
  return {
    inspection: describe(vlm, features, frames, { ...given, question, part }, notes),
    pictures: frames.map(({ picture }) => picture),
  };
}

/** How the frames of features are read again. */
function readingOf({ encoder }: LongVLM, features: VideoFeatures, sampling: SamplingRequest | undefined) {
  const { start, end, readFrames, segmentFrames } = encoder.settle(sampling);
  return {
    frames: features.sampling.frames,
    segmentFrames: readFrames ?? segmentFrames,
    geometry: encoder.geometryOf(features),
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
  };
}

type Shown = Pick<InspectOptions, 'template' | 'system' | 'timestamps'> & {
  readonly question: string;
  readonly part: 'both' | 'local' | 'global';
};

function describe(
  vlm: LongVLM,
  features: VideoFeatures,
  frames: readonly Thumbnail[],
  { question, ...texts }: Shown,
  notes: readonly string[],
): Inspection {
  const { sampling, source, grid, report } = features;
  const { reduction, reductionOptions, frames: count, segmentFrames, tokensPerSegment, resize } = sampling;
  const { fps, start, end } = sampling;
  const { summaries } = vlm.encoder.config;
  const { vision, llm } = vlm.models;
  const { part } = texts;
  const prompt = vlm.promptOf(features, question, texts);
  const global = features.tokenCountOf('global');
  const segments = Array.from({ length: features.segments }, (_, index) => segmentOf(features, index, frames));
  const ending = vlm.encoder.ending ? 1 : 0;
  const text = prompt?.reduce((sum, span) => sum + (span.kind === 'text' ? span.tokens : 0), 0);
  const video = features.tokenCountOf(part) + ending;
  return {
    object: 'inspection',
    version: 1,
    video: { ...source, warnings: [...source.warnings] },
    models: {
      ...(vlm.preset !== undefined && { name: vlm.preset }),
      vision: basename(vision.path),
      ...(llm && { llm: llm.name }),
    },
    method: {
      reduction,
      ...(reductionOptions && { options: reductionOptions }),
      ...(report && { text: report.text }),
      whole: report !== undefined,
      ...{ part, frames: count, segmentFrames, tokensPerSegment, resize },
      ...(fps !== undefined && { fps }),
      ...(start !== undefined && { start }),
      ...(end !== undefined && { end }),
    },
    ...(grid && { grid: { ...grid, framesPerStep: segmentFrames / grid.steps } }),
    global: {
      tokens: global,
      layers: Array.from({ length: global }, (_, index) => summaries - global + index + 1),
      of: summaries,
    },
    segments,
    tokens: {
      patches: grid ? features.segments * tokensOf(grid) : features.sizes.data.reduce((sum, size) => sum + size, 0),
      ...{ global, local: features.tokenCountOf('local'), ending, video },
      ...(text !== undefined && { text, prompt: text + video }),
      ...(llm && { context: llm.trainContextSize }),
    },
    ...(prompt && { prompt }),
    notes: [...notes, ...notesOf(features, segments)],
  };
}

function segmentOf(features: VideoFeatures, index: number, frames: readonly Thumbnail[]): InspectedSegment {
  const { sampling, sizes, positions, timestamps, source } = features;
  const { segmentFrames, tokensPerSegment } = sampling;
  const [first, next] = [index * segmentFrames, (index + 1) * segmentFrames];
  const times = Array.from(timestamps.subarray(first, next), inMilliseconds);
  const end = next < timestamps.length ? inMilliseconds(timestamps[next]!) : (sampling.end ?? source.durationSeconds);
  const [from, to] = [index * tokensPerSegment, (index + 1) * tokensPerSegment];
  const owners = ownersOf(features, index);
  return {
    ...{ index, start: times[0]!, end: Math.max(end, times.at(-1)!) },
    frames: times.map((time, at) => {
      const found = frames[first + at];
      return { time, ...(found && { thumbnail: found.url }) };
    }),
    sizes: Array.from(sizes.data.subarray(from, to), inMilliseconds),
    ...(positions && { positions: Array.from(positions.subarray(from, to)) }),
    ...(owners && { owners: writeOwners(owners, tokensPerSegment) }),
  };
}

/** What 32 bits add to a number is left out. */
const inMilliseconds = (value: number) => Math.round(value * 1000) / 1000;

function notesOf({ grid, sampling, positions }: VideoFeatures, segments: readonly InspectedSegment[]): string[] {
  const notes: string[] = [];
  if (grid === undefined)
    notes.push('These features do not say what they were reduced from: encode the video again to see it.');
  else if (segments.some(({ owners }) => owners === undefined))
    notes.push(
      positions
        ? `The method ${sampling.reduction} tells where each token stands and how many patches it is made of, but not which: the places are marked.`
        : `These features do not say which patches went into which token: encode the video again, without the cache (--no-cache), to see it.`,
    );
  if (grid?.rows === 1 && grid.columns > 1)
    notes.push('The vision tower gives patches that have no place in a frame, so they are not painted.');
  return notes;
}
