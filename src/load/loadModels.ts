// Models loaded side by side, and whether they fit together.
import { LongVLMError } from '../base/errors.js';
import type { VideoEncoderOptions } from '../encode/videoEncoder.js';
import { VideoEncoder } from '../encode/videoEncoder.js';
import { LanguageModel } from '../llm/model.js';
import { Projector } from '../projector/projector.js';
import { checkOptions, type LoadVideoEncoderOptions, type LongVLMOptions, type SettledOptions } from './options.js';
import { resolveModels } from './resolve.js';

/** Models that were loaded: a projector and a language model where they were named. */
export type LoadedModels = {
  readonly encoder: VideoEncoder;
  readonly projector: Projector | undefined;
  readonly llm: LanguageModel | undefined;
};

/**
 * A {@link VideoEncoder} of models by name or on the hub, as {@link LongVLM.load} takes them. Of these only the vision tower
 * is downloaded, and the file of the projector where that holds the tower.
 * @throws as {@link LongVLM.load}
 */
export async function loadVideoEncoder(options: LoadVideoEncoderOptions = {}): Promise<VideoEncoder> {
  const { llm: _, ...own } = options as LongVLMOptions;
  checkOptions(own);
  own.signal?.throwIfAborted();
  const { options: settled } = await resolveModels(own, ['vision']);
  return VideoEncoder.create(encoderOptions(settled, undefined));
}

/**
 * Loads what is named, and lets all go again when something fails.
 * @throws what the models throw
 */
export async function loadModels(settled: SettledOptions): Promise<LoadedModels> {
  const loaded: { -readonly [Key in keyof LoadedModels]?: LoadedModels[Key] } = {};
  // Each is waited for, also when one fails, so that what did load can be freed.
  const loads = await Promise.allSettled([
    loadSight(settled, loaded),
    loadLanguageModel(settled).then((llm) => {
      loaded.llm = llm;
    }),
  ]);
  const failed = loads.find((load) => load.status === 'rejected');
  const models = { encoder: loaded.encoder!, projector: loaded.projector, llm: loaded.llm };
  if (!failed) return models;
  await disposeModels(models);
  throw failed.reason;
}

/** Frees models, as far as they are there. */
export async function disposeModels({ encoder, projector, llm }: Partial<LoadedModels>): Promise<void> {
  await Promise.all([encoder?.dispose(), projector?.dispose(), llm?.dispose()]);
}

/** Tower and projector, side by side; a reducer behind the projector needs the one in the other. */
async function loadSight(
  settled: SettledOptions,
  loaded: { encoder?: VideoEncoder; projector?: Projector | undefined },
): Promise<void> {
  loaded.projector = await loadProjector(settled);
  loaded.encoder = await VideoEncoder.open(encoderOptions(settled, loaded.projector));
}

async function loadProjector({ projector, device, threads, lazy, onProgress, signal }: SettledOptions) {
  if (projector === undefined) return undefined;
  return Projector.load(projector, {
    device,
    lazy,
    ...(threads !== undefined && { threads }),
    ...(onProgress && { onProgress }),
    ...(signal && { signal }),
  });
}

async function loadLanguageModel({ llm, gpu, gpuLayers, threads, lazy, onProgress, signal }: SettledOptions) {
  if (llm === undefined) return undefined;
  return LanguageModel.load({
    path: llm,
    device: gpu === 'off' ? 'cpu' : gpu,
    lazy,
    ...(gpuLayers !== undefined && { gpuLayers }),
    ...(threads !== undefined && { threads }),
    ...(onProgress && { onProgress }),
    ...(signal && { signal }),
  });
}

function encoderOptions(settled: SettledOptions, projector: Projector | undefined): VideoEncoderOptions {
  const { vision, visionPrecision, device, threads, lazy, cache, ffmpeg, onProgress, signal, sampling } = settled;
  return { ...sampling, vision, visionPrecision, device, threads, lazy, cache, ffmpeg, projector, onProgress, signal };
}

/**
 * @throws RangeError for a sampling that does not fit the tower; LongVLMError `ERR_LONGVLM_MISMATCH` for models that do not
 * fit each other
 */
export function checkFit({ projector: file, vision, llm: model }: SettledOptions, models: LoadedModels): void {
  const { encoder, projector, llm } = models;
  encoder.settle();
  const { channels } = encoder.config;
  if (projector && projector.inChannels !== channels)
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The projector ${file} takes ${projector.inChannels} channels but the vision tower ${vision} gives ${channels}. Use the projector that was trained for this tower.`,
    );
  if (projector && llm && projector.outChannels !== llm.width)
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The projector ${file} gives ${projector.outChannels} channels but the language model ${model} takes ${llm.width}. Use the projector that was trained for this language model.`,
    );
}
