// Encodes a video: reads its frames segment by segment, encodes each, and gathers the features.
import { isErrorOf, LongVLMError, messageOf } from '../base/errors.js';
import { type FileStates, fileStates, haveChanged } from '../base/fileState.js';
import type { OnProgress } from '../base/progress.js';
import type { Lane, Scheduler } from '../base/scheduler.js';
import { checkInteger } from '../base/validate.js';
import type { VideoRuns } from '../base/videoRun.js';
import type { Projector } from '../projector/projector.js';
import { type Reducer, reducesVideos, type SegmentShape, type VideoReducer } from '../reduce/reducer.js';
import { frameGeometry } from '../tower/pixels.js';
import type { FrameShape } from '../tower/source.js';
import type { Tower } from '../tower/tower.js';
import type { Video } from '../video/openVideo.js';
import { selectFrames } from '../video/selection.js';
import { gatherOnDevice } from './deviceSegments.js';
import { gatherVideoOnDevice } from './deviceVideo.js';
import { type Gathering, gatherOnHost, gatherWholeVideo, type VideoShape } from './gatheredTokens.js';
import { mostPixels } from './pixelBudget.js';
import { expectedRuns } from './runs.js';
import { keepsPlaces, type Sampling, type SettledSampling } from './sampling.js';
import type { TokenEncoder } from './segment.js';
import { VideoFeatures } from './videoFeatures.js';
import { withoutFolders } from './withoutFolders.js';

/** Is told the runs of a video's tokens as soon as they are known; what it throws ends the encoding. */
export type OnPlanned = (runs: VideoRuns) => void;

/** Options of an encoder that only this package gives. */
export type InnerOptions = {
  /** Who is told of the runs. */
  onPlanned?: OnPlanned;
  /** Who says when to begin. */
  scheduler?: Scheduler | undefined;
  /** Whether it is to be known into which tokens patches went, though that means to encode the video anew. */
  owners?: boolean;
  /** What is done with the video before it is closed. */
  whileOpen?: (video: Video, features: VideoFeatures) => Promise<void>;
};

/** What encodes a video. */
export type VideoModels = {
  readonly tower: Tower;
  /** Used by a reducer of stage `projector` alone. */
  readonly projector: Projector | undefined;
};

/** Identity of what made embeddings of the tokens; undefined if they still have to be projected. */
export function projectedBy({ tower, projector }: VideoModels, reducer: Reducer | VideoReducer): string | undefined {
  if (tower.projection) return tower.identity;
  return reducer.stage === 'projector' ? projector?.identity : undefined;
}

/**
 * @param video opened; it is not disposed
 * @param before what its files were when they were opened
 * @throws as {@link VideoEncoder.encode}
 */
export async function encodeVideo(
  { tower, projector: given }: VideoModels,
  video: Video,
  before: FileStates,
  sampling: SettledSampling,
  {
    ofVideo,
    onPlanned,
    onProgress,
    signal,
    scheduler,
    owners,
  }: {
    /** The sampling of so many frames of so many tokens, where `sampling` shares out a budget among them. */
    readonly ofVideo: (frames: number, shape: Pick<FrameShape, 'patches' | 'grid'>) => SettledSampling;
    /** Called before the first frame is decoded. */
    readonly onPlanned: OnPlanned | undefined;
    readonly onProgress: OnProgress | undefined;
    readonly signal: AbortSignal | undefined;
    /** Says when to begin. Defaults to at once. */
    readonly scheduler: Scheduler | undefined;
    /** Whether it must be known into which tokens patches went: a GPU does not tell it. */
    readonly owners: boolean;
  },
): Promise<VideoFeatures> {
  const inLane = <T>(lane: Lane, work: () => Promise<T>) => (scheduler ? scheduler.run(lane, work, signal) : work());
  const report = (stage: 'probe' | 'encode', done: number, total: number) =>
    onProgress?.({ stage, done, total, unit: 'frames', name: video.name });
  report('probe', 0, sampling.frames ?? 0);
  const info = await inLane('decode', () => video.probe(signal));
  const { globalLayers, resize, start, end, fps, maxFrames } = sampling;
  const readFrames = sampling.readFrames ?? sampling.segmentFrames;
  const range = { ...(start !== undefined && { start }), ...(end !== undefined && { end }) };
  const most = maxFrames !== undefined && { maxFrames };
  const amount = sampling.frames !== undefined ? { frames: sampling.frames } : { fps: fps!, ...most };
  const chosen = selectFrames(info, { ...amount, ...range, segmentFrames: readFrames });
  const { frames } = chosen;
  const { config, framesPerStep } = tower;
  const turned = info.rotation % 180 !== 0;
  const shown = { width: turned ? info.height : info.width, height: turned ? info.width : info.height };
  const maxPixels = mostPixels(sampling, frames, config);
  const frameShape = tower.shapeOf({ ...shown, frames, ...(maxPixels !== undefined && { maxPixels }) });
  const { patches, grid } = frameShape;
  const isWhole = reducesVideos(sampling.reducer);
  const { reducer, ...settled } =
    sampling.tokens === undefined && !isWhole ? sampling : settledFor(video, () => ofVideo(frames, { patches, grid }));
  const projector = reducer.stage === 'projector' ? given : undefined;
  const channels = projector?.outChannels ?? config.channels;
  const segmentFrames = isWhole ? frames : readFrames;
  const steps = segmentFrames / framesPerStep;
  const places = { frames: steps, patches, grid, channels, ...widthOf(tower) };
  const tokensPerSegment = countOf(reducer, places, frameShape);
  const timestamps = new Float32Array(frames);
  if (onPlanned) {
    const times = Float32Array.from(chosen.indices, (index) => info.frameSource.seconds(index));
    const found = { timestamps: times, end: chosen.endSeconds, durationSeconds: info.durationSeconds };
    const reduced = { segments: frames / segmentFrames, segmentFrames, tokensPerSegment, globalLayers };
    const tokenGrid = { steps, rows: grid[0], columns: grid[1] };
    onPlanned(expectedRuns({ ...reduced, grid: tokenGrid }, keepsPlaces(reducer), found));
  }
  report('encode', 0, frames);
  const encoder = { tower, shape: frameShape, projector };
  const geometry = frameGeometry(config, resize, frameShape);
  const shape = { frames, segmentFrames, tokensPerSegment, globalLayers };
  const reading = { frames, ...range, segmentFrames: readFrames, geometry, ...(signal && { signal }) };
  const tokens = await inLane('encode', async () => {
    let gathering: Gathering | undefined;
    try {
      for await (const segment of video.segments(reading)) {
        gathering ??= await gatheringFor(encoder, reducer, shape, places, readFrames / framesPerStep, owners, signal);
        timestamps.set(segment.timestamps, segment.index * readFrames);
        report('encode', await gathering.add(segment.frames), frames);
      }
      return await gathering!.finish();
    } finally {
      gathering?.dispose();
    }
  });
  const changed = haveChanged(before, await fileStates(video.paths))
    ? [`'${video.name}' was changed while it was read, and its frames may be of either version. Encode it again.`]
    : [];
  const isRange = start !== undefined || end !== undefined;
  const used = { start: chosen.startSeconds, end: chosen.endSeconds };
  return VideoFeatures.of(tokens, {
    timestamps,
    sampling: {
      ...recorded(settled),
      frames,
      segmentFrames,
      tokensPerSegment: tokens.local.dims[1]!,
      ...(isRange && used),
      // A picture lasts no time.
      ...(fps !== undefined && { fps: used.end > used.start ? frames / (used.end - used.start) : fps }),
    },
    tower: tower.identity,
    projector: projectedBy({ tower, projector: given }, reducer),
    source: {
      name: video.name,
      durationSeconds: info.durationSeconds,
      frameCount: info.frameCount,
      ...shown,
      warnings: [...info.warnings.map((warning) => withoutFolders(warning, video.paths)), ...changed],
    },
  });
}

/**
 * Tokens of a segment, where the size of frames, and so the number of their tokens, is known only now.
 * @throws LongVLMError `ERR_LONGVLM_VIDEO` where they cannot be reduced as was asked
 */
function countOf(reducer: Reducer | VideoReducer, segment: SegmentShape, { width, height }: FrameShape): number {
  try {
    reducer.check(segment);
    return checkInteger(`tokens of the reducer ${reducer.id}`, reducer.count(segment), 1);
  } catch (error) {
    const [whose, remedy] = reducesVideos(reducer)
      ? ['in all', '']
      : ['in each segment', ' Ask for fewer tokens, or for longer segments.'];
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `The vision tower takes this video's frames as ${width}x${height} pixels, which are ${segment.frames * segment.patches} tokens ${whose}: ${messageOf(error)}.${remedy}`,
      { cause: error },
    );
  }
}

/** Gathers a video's tokens where the tower runs, if the reducer can work there, else on the host. */
async function gatheringFor(
  encoder: TokenEncoder,
  reducer: Reducer | VideoReducer,
  shape: VideoShape,
  video: SegmentShape,
  stepsOfRead: number,
  owners: boolean,
  signal: AbortSignal | undefined,
): Promise<Gathering> {
  if (reducesVideos(reducer)) {
    const whole = { reducer, shape, video, stepsOfRead };
    const onDevice = owners ? undefined : await gatherVideoOnDevice(encoder, whole, signal);
    return onDevice ?? gatherWholeVideo(encoder, reducer, shape, video, signal);
  }
  const segments = { ...encoder, reducer };
  const onDevice = owners ? undefined : await gatherOnDevice(segments, shape, signal);
  return onDevice ?? gatherOnHost(segments, shape, signal);
}

/** A sampling that is settled once the video's frames are known. @throws LongVLMError `ERR_LONGVLM_VIDEO` */
function settledFor(video: Video, settle: () => SettledSampling): SettledSampling {
  try {
    return settle();
  } catch (error) {
    if (!isErrorOf(error, 'RangeError')) throw error;
    throw new LongVLMError('ERR_LONGVLM_VIDEO', `'${video.name}' cannot be reduced as is asked: ${error.message}.`, {
      cause: error,
    });
  }
}

/** Where rows for later layers of the language model follow an embedding, its width. */
function widthOf({ projection }: Tower): { readonly width?: number } {
  return (projection?.rows ?? 1) > 1 ? { width: projection!.width } : {};
}

/** What of a sampling goes into features. */
function recorded(settled: Omit<SettledSampling, 'reducer'>): Omit<Sampling, 'frames'> {
  const { frames: _, maxFrames, tokens, readFrames, maxPixels, fitsBudget, ...used } = settled;
  return used;
}
