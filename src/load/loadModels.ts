// Loads models concurrently and checks that they fit together.
import path from 'node:path';
import { withCallbacks } from '../base/callbacks.js';
import { LongVLMError } from '../base/errors.js';
import type { VideoEncoderOptions } from '../encode/videoEncoder.js';
import { VideoEncoder } from '../encode/videoEncoder.js';
import { VideoChat } from '../llm/chat.js';
import { LanguageModel } from '../llm/model.js';
import { resolvePromptTemplate } from '../llm/templates.js';
import { Projector } from '../projector/projector.js';
import { checkOptions, type LoadVideoEncoderOptions, type SettledOptions } from './options.js';
import { resolveModels } from './resolve.js';

/** Loaded models; projector and language model only if they were named. */
export type LoadedModels = {
  readonly encoder: VideoEncoder;
  readonly projector: Projector | undefined;
  readonly llm: LanguageModel | undefined;
};

/**
 * Loads a {@link VideoEncoder} whose models are named as in {@link LongVLM.load}: by name, file or hub reference. Downloads only
 * the vision tower, and the projector's file if it contains the tower. A reducer of stage `projector` needs
 * {@link VideoEncoder.create} with a projector, or {@link LongVLM.load}.
 * @throws as {@link LongVLM.load}
 */
export function loadVideoEncoder(options: LoadVideoEncoderOptions = {}): Promise<VideoEncoder> {
  return withCallbacks(options, ['onProgress'], loadEncoder, (encoder) => encoder.dispose());
}

async function loadEncoder(options: LoadVideoEncoderOptions): Promise<VideoEncoder> {
  checkOptions(options);
  options.signal?.throwIfAborted();
  const { options: settled } = await resolveModels(options, ['vision']);
  return VideoEncoder.create(encoderOptions(settled));
}

/**
 * Loads the named models. If one fails, the others are disposed.
 * @throws errors of the models
 */
export async function loadModels(settled: SettledOptions): Promise<LoadedModels> {
  const loaded: { -readonly [Key in keyof LoadedModels]?: LoadedModels[Key] } = {};
  // Wait for all, even if one fails, so that the models that did load can be freed.
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

/** Disposes the models that are loaded. */
export async function disposeModels({ encoder, projector, llm }: Partial<LoadedModels>): Promise<void> {
  await Promise.all([encoder?.dispose(), projector?.dispose(), llm?.dispose()]);
}

/** Loads the tower, and the projector unless the tower has its own. A reducer of stage `projector` needs it. */
async function loadSight(
  settled: SettledOptions,
  loaded: { encoder?: VideoEncoder; projector?: Projector | undefined },
): Promise<void> {
  loaded.encoder = await VideoEncoder.open(encoderOptions(settled));
  if (loaded.encoder.projection) return;
  loaded.projector = await loadProjector(settled);
  if (loaded.projector) loaded.encoder.useProjector(loaded.projector);
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

function encoderOptions(settled: SettledOptions): VideoEncoderOptions {
  const { vision, visionPrecision, device, threads, lazy, sampling, onProgress, signal } = settled;
  const { cache, ffmpeg, limits } = settled;
  return {
    ...{ ...sampling, vision, visionPrecision, device, threads, lazy },
    ...{ cache, ffmpeg, limits, onProgress, signal },
  };
}

/**
 * @throws RangeError for a sampling that does not fit the tower; LongVLMError `ERR_LONGVLM_MISMATCH` for models that do not
 * fit each other
 */
export function checkFit(
  { projector: file, vision, llm: model, template }: SettledOptions,
  models: LoadedModels,
): void {
  const { encoder, projector, llm } = models;
  encoder.settle();
  const { config, projection } = encoder;
  const { channels } = config;
  if (projection && file !== undefined && path.resolve(file) !== path.resolve(vision))
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The vision tower ${vision} has a projector of its own, which needs none from ${file}. Leave out the projector.`,
    );
  if (projection && llm && channels !== llm.inputWidth)
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The vision tower ${vision} gives embeddings of ${inRows(channels, projection.width)} but the language model ${model} takes ${inRows(llm.inputWidth, llm.width)}. Use the two of the same model.`,
    );
  if (projector && projector.inChannels !== channels)
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The projector ${file} takes ${projector.inChannels} channels but the vision tower ${vision} gives ${channels}. Use the projector that was trained for this tower.`,
    );
  const other = projector && otherStates(encoder, projector);
  if (other !== undefined)
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The projector ${file} was trained on ${other} by the config.json beside it, which are not those that the vision tower ${vision} gives. Use the tower of the same model.`,
    );
  // A chat template that is only the default can be replaced in each call.
  if (llm && template !== undefined && resolvePromptTemplate(template).name === 'chat_template')
    VideoChat.checkFits(llm, 0, '?', { template });
  if (projector && llm && projector.outChannels !== llm.inputWidth)
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The projector ${file} gives ${projector.outChannels} channels but the language model ${model} takes ${inRows(llm.inputWidth, llm.width)}. Use the projector that was trained for this language model.`,
    );
}

/** Channels of an embedding with the rows that follow it for later layers (DeepStack), in words. */
function inRows(channels: number, width: number): string {
  return channels === width ? `${width} channels` : `${channels} channels (${channels / width} rows of ${width})`;
}

/** The hidden states that a projector was trained on, in words, where the tower's patches are known to be others. */
function otherStates({ patchStates }: VideoEncoder, { trainedStates }: Projector): string | undefined {
  if (!patchStates || !trainedStates) return undefined;
  const { depth, keepsClassToken, layers } = patchStates;
  const due = trainedStates.layers.map((layer) => (layer < 0 ? depth + 1 + layer : layer));
  if (due.join() === layers.join() && trainedStates.keepsClassToken === keepsClassToken) return undefined;
  return `hidden states ${due.join(', ')} ${trainedStates.keepsClassToken ? 'with' : 'without'} the class token`;
}
