// Describes loaded models, for people and logs.
import path from 'node:path';
import { withCallbacks } from '../base/callbacks.js';
import { messageOf } from '../base/errors.js';
import type { SamplingRequest } from '../encode/sampling.js';
import { oneLine } from '../llm/layouts/chatTemplate.js';
import type { LanguageModel } from '../llm/model.js';
import { type PromptTemplate, resolvePromptTemplate } from '../llm/templates.js';
import type { VisionPrecision } from '../tower/precision.js';
import { checkFit, disposeModels, type LoadedModels, loadModels } from './loadModels.js';
import { checkOptions, type LongVLMOptions, type SettledOptions } from './options.js';
import { resolveModels } from './resolve.js';

/** Properties of loaded models, and where they run. */
export type ModelsDescription = {
  readonly vision: {
    readonly path: string;
    readonly identity: string;
    /** ONNX Runtime's execution provider; undefined while the tower is not started, see `LongVLMOptions.lazy`. */
    readonly device?: string;
    /** Precision of the tower. */
    readonly precision: VisionPrecision;
    readonly imageSize: number;
    readonly channels: number;
    readonly patches: number;
    /** Hidden states with a class token: the maximum of `globalLayers`. */
    readonly summaries: number;
    /** Further properties by the tower's family: for CLIP `patchSize`, `layers`, `heads`, `patchLayer`, and an optional `note`. */
    readonly [detail: string]: number | string | undefined;
  };
  readonly projector?: {
    readonly path: string;
    readonly identity: string;
    readonly kind: string;
    /** ONNX Runtime's execution provider; undefined while the projector is not started. */
    readonly device?: string;
    readonly inChannels: number;
    readonly outChannels: number;
  };
  readonly llm?: {
    readonly path: string;
    readonly name: string;
    /** The device that llama.cpp uses: `cpu`, `cuda`, `vulkan` or `metal`. */
    readonly device: string;
    /** Layers that run on the GPU. */
    readonly gpuLayers: number;
    readonly width: number;
    readonly trainContextSize: number;
    /** Default layout of conversations. */
    readonly template: string;
    /** Why the chat template in the file cannot be used, where it is the default. */
    readonly templateProblem?: string;
  };
  /** Why these models cannot be used together; undefined where they can. */
  readonly fit?: { readonly problem: string };
};

/** The default layout of conversations. */
export function templateOf({ template }: SettledOptions, { encoder, llm }: LoadedModels): PromptTemplate {
  return resolvePromptTemplate(template ?? encoder?.template ?? llm?.defaultTemplate ?? 'long_vlm_v1');
}

function templateProblem({ chatTemplate }: LanguageModel): { templateProblem?: string } {
  const plain = chatTemplate?.plain;
  return plain !== undefined && 'problem' in plain ? { templateProblem: oneLine(plain.problem) } : {};
}

/** Describes models that are loaded. */
export function describeLoaded(options: SettledOptions, models: LoadedModels): ModelsDescription {
  const { encoder, projector, llm } = models;
  const { imageSize, channels, patches, summaries } = encoder.config;
  return {
    vision: {
      path: path.resolve(options.vision),
      identity: encoder.identity,
      ...(encoder.device !== undefined && { device: encoder.device }),
      precision: encoder.precision,
      ...{ imageSize, channels, patches, summaries },
      ...(encoder.projection && { projector: encoder.projection.kind, width: encoder.projection.width }),
      ...encoder.details,
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
        template: templateOf(options, models).name,
        ...templateProblem(llm),
      },
    }),
  };
}

function misfit(settled: SettledOptions, models: LoadedModels): string | undefined {
  try {
    checkFit(settled, models);
  } catch (error) {
    return messageOf(error);
  }
  return undefined;
}

/** The options of a model of the catalogue. */
export type PresetDescription = SamplingRequest & {
  readonly name: string;
  readonly temperature: number;
  readonly template: string;
};

/**
 * Loads the named models, describes them, and frees them. Projector and language model are optional, and the models need not
 * fit each other or the sampling: then `fit` says why not.
 * @throws as {@link LongVLM.load}, except for models that do not fit together
 */
export async function describeModels(
  options: LongVLMOptions,
): Promise<{ readonly preset?: PresetDescription } & ModelsDescription> {
  return withCallbacks(options, ['onProgress'], describe);
}

async function describe(options: LongVLMOptions): Promise<{ readonly preset?: PresetDescription } & ModelsDescription> {
  checkOptions(options);
  options.signal?.throwIfAborted();
  const { options: settled, preset: name } = await resolveModels({ ...options, lazy: false });
  const models = await loadModels(settled);
  try {
    const { sampling, temperature } = settled;
    const preset = name !== undefined && {
      preset: { name, ...sampling, temperature, template: templateOf(settled, models).name },
    };
    const problem = misfit(settled, models);
    return { ...preset, ...describeLoaded(settled, models), ...(problem !== undefined && { fit: { problem } }) };
  } finally {
    await disposeModels(models);
  }
}
