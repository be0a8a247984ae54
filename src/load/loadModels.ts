// The parts of a LongVLM: loaded side by side, fitting together, and what is to be said of them.
import path from 'node:path';
import { LongVLMError } from '../base/errors.js';
import { wrongValue } from '../base/validate.js';
import { mergeSchedule } from '../kernels/index.js';
import { LanguageModel } from '../llm/model.js';
import { Projector } from '../projector/projector.js';
import type { VisionPrecision } from '../tower/clip/towerGraph.js';
import { VisionEncoder } from '../tower/visionEncoder.js';
import { type SettledOptions, samplingOf } from './options.js';

/** What `LongVLM.parts` tells. */
export type LongVLMParts = {
  readonly vision: {
    readonly path: string;
    readonly identity: string;
    /** ONNX Runtime's execution provider; left out while the tower is not started, see `LongVLMOptions.lazy`. */
    readonly device?: string;
    /** What its linear layers are computed in. */
    readonly precision: VisionPrecision;
    readonly imageSize: number;
    readonly patchSize: number;
    readonly channels: number;
    readonly layers: number;
    readonly heads: number;
    readonly patches: number;
    /** Hidden state that patches come from; there are `layers` + 1 of them, the first being 0. */
    readonly patchLayer: number;
    /** What a reader should know. */
    readonly note?: string;
  };
  readonly projector?: {
    readonly path: string;
    readonly identity: string;
    readonly kind: string;
    /** ONNX Runtime's execution provider; left out while the projector is not started, see `LongVLMOptions.lazy`. */
    readonly device?: string;
    readonly inChannels: number;
    readonly outChannels: number;
  };
  readonly llm?: {
    readonly path: string;
    readonly name: string;
    /** What llama.cpp computes on: `cpu`, `cuda`, `vulkan` or `metal`. */
    readonly device: string;
    /** Layers that are on the GPU. */
    readonly gpuLayers: number;
    readonly width: number;
    readonly trainContextSize: number;
    /** Layout of conversations that name none. */
    readonly template: string;
  };
};

/** The parts of a LongVLM. */
export type Parts = { vision: VisionEncoder; projector: Projector | undefined; llm: LanguageModel | undefined };

/**
 * Loads what is named.
 * @throws what the parts throw; LongVLMError `ERR_LONGVLM_MISMATCH` when they do not fit together
 */
export async function loadParts(settled: SettledOptions, signal: AbortSignal | undefined): Promise<Parts> {
  const parts: Partial<Parts> = {};
  try {
    // Every part is waited for, also when one fails, so that what did load can be freed.
    const loads = await Promise.allSettled([
      VisionEncoder.create({
        path: settled.vision,
        globalLayers: settled.globalLayers,
        precision: settled.visionPrecision,
        device: settled.device,
        lazy: settled.lazy,
        ...(settled.threads !== undefined && { threads: settled.threads }),
        ...(signal && { signal }),
      }).then((vision) => {
        parts.vision = vision;
      }),
      settled.projector === undefined
        ? undefined
        : Projector.load(settled.projector, {
            device: settled.device,
            lazy: settled.lazy,
            ...(settled.threads !== undefined && { threads: settled.threads }),
            ...(signal && { signal }),
          }).then((projector) => {
            parts.projector = projector;
          }),
      settled.llm === undefined
        ? undefined
        : LanguageModel.load({
            path: settled.llm,
            device: settled.gpu === 'off' ? 'cpu' : settled.gpu,
            ...(settled.gpuLayers !== undefined && { gpuLayers: settled.gpuLayers }),
            lazy: settled.lazy,
            ...(settled.threads !== undefined && { threads: settled.threads }),
            ...(settled.onProgress && { onProgress: settled.onProgress }),
            ...(signal && { signal }),
          }).then((llm) => {
            parts.llm = llm;
          }),
    ]);
    const failed = loads.find((load) => load.status === 'rejected');
    if (failed) throw failed.reason;
    const { vision, projector, llm } = parts;
    const whole = { vision: vision!, projector, llm };
    checkFit(settled, whole);
    return whole;
  } catch (error) {
    await Promise.all([parts.vision?.dispose(), parts.projector?.dispose(), parts.llm?.dispose()]);
    throw error;
  }
}

/** @param template name of the layout of conversations that name none */
export function describeParts(
  { vision, projector, llm }: Parts,
  options: SettledOptions,
  template: string,
): LongVLMParts {
  const { config } = vision;
  return {
    vision: {
      path: path.resolve(options.vision),
      identity: vision.identity,
      ...(vision.device !== undefined && { device: vision.device }),
      precision: options.visionPrecision,
      imageSize: config.imageSize,
      patchSize: config.patchSize,
      channels: config.channels,
      layers: config.layers,
      heads: config.heads,
      patches: config.patches,
      patchLayer: config.patchLayer,
      ...(config.patchLayer === config.layers && {
        note: `the file ends with the layer that patches come from: global layers are counted from hidden state ${config.layers}`,
      }),
    },
    ...(projector && {
      projector: {
        path: path.resolve(options.projector!),
        identity: projector.identity,
        kind: projector.kind,
        ...(projector.device !== undefined && { device: projector.device }),
        inChannels: projector.inChannels,
        outChannels: projector.outChannels,
      },
    }),
    ...(llm && {
      llm: {
        path: llm.path,
        name: llm.name,
        device: llm.device,
        gpuLayers: llm.gpuLayers,
        width: llm.width,
        trainContextSize: llm.trainContextSize,
        template,
      },
    }),
  };
}

function checkFit(options: SettledOptions, { vision, projector, llm }: Parts): void {
  const { segmentFrames, tokensPerSegment, mergeHeads } = samplingOf(options, vision.config.heads);
  const { channels, patches } = vision.config;
  mergeSchedule(segmentFrames * patches, tokensPerSegment);
  if (channels % mergeHeads !== 0)
    wrongValue('mergeHeads', `divisor of the vision tower's ${channels} channels`, mergeHeads);
  if (projector && projector.inChannels !== channels)
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The projector ${options.projector} takes ${projector.inChannels} channels but the vision tower ${options.vision} gives ${channels}. Use the projector that was trained for this tower.`,
    );
  if (projector && llm && projector.outChannels !== llm.width)
    throw new LongVLMError(
      'ERR_LONGVLM_MISMATCH',
      `The projector ${options.projector} gives ${projector.outChannels} channels but the language model ${options.llm} takes ${llm.width}. Use the projector that was trained for this language model.`,
    );
}
