// The only file that uses ONNX Runtime. run() blocks its thread, so sessions run in worker threads.
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import ort from 'onnxruntime-node';
import { LongVLMError, messageOf } from '../base/errors.js';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { throughGate } from './exitGate.js';
import type { OnnxModel } from './graphBuilder.js';
import type { Outputs, Values } from './values.js';

/** How a session runs. */
export type SessionOptions = {
  /** `cpu`, `auto` (a GPU that works, else the CPU) or the name of one of ONNX Runtime's execution providers. */
  readonly device: string;
  /** Threads on the CPU; undefined for the number of cores. */
  readonly threads: number | undefined;
};

// The order in which `auto` tries them: providers that run a whole graph over weights in place, without conversion.
const gpus = ['cuda', 'dml'];

/** An ONNX Runtime session whose outputs are float32. */
export class Session {
  /** The execution provider that runs it. */
  readonly device: string;
  readonly #session: ort.InferenceSession;

  private constructor(session: ort.InferenceSession, device: string) {
    this.#session = session;
    this.device = device;
  }

  /**
   * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a device that this build of ONNX Runtime lacks;
   * `ERR_LONGVLM_INFERENCE` when ONNX Runtime refuses the model.
   */
  static async create(model: OnnxModel, { device, threads }: SessionOptions): Promise<Session> {
    const backends = ort.listSupportedBackends();
    const available = backends.filter(({ name, bundled }) => bundled || isInstalled(name)).map(({ name }) => name);
    if (device !== 'auto' && !available.includes(device))
      throw new LongVLMError(
        'ERR_LONGVLM_UNSUPPORTED',
        backends.some(({ name }) => name === device)
          ? `Device '${device}' needs a library that is not installed. Run npm rebuild onnxruntime-node with ONNXRUNTIME_NODE_INSTALL=true in the environment, or use auto or one of ${available.join(', ')}.`
          : `Device '${device}' is not available in this build of ONNX Runtime. Use auto or one of ${available.join(', ')}.`,
      );
    const candidates = device === 'auto' ? [...gpus.filter((gpu) => available.includes(gpu)), 'cpu'] : [device];
    for (const [index, candidate] of candidates.entries()) {
      try {
        return new Session(await throughGate(() => open(model, candidate, threads)), candidate);
      } catch (error) {
        if (index === candidates.length - 1)
          throw new LongVLMError(
            'ERR_LONGVLM_INFERENCE',
            `ONNX Runtime cannot load the model on ${candidate}: ${messageOf(error)}. Check the weights, or try device cpu.`,
            { cause: error },
          );
      }
    }
    throw new Error('unreachable: the last candidate returned or threw');
  }

  /** Runs the graph. Outputs are written into `outputs` where given, and returned. */
  async run(inputs: Values, outputs?: Outputs): Promise<Record<string, Float32Tensor>> {
    try {
      // ONNX Runtime would silently ignore unknown names.
      const unknown = Object.keys(outputs ?? {}).find((name) => !this.#session.outputNames.includes(name));
      if (unknown !== undefined) throw new Error(`The graph has no output ${unknown}`);
      const feeds = toOrt(inputs);
      const results = await throughGate(() =>
        outputs ? this.#session.run(feeds, toOrt(outputs)) : this.#session.run(feeds),
      );
      const tensors = Object.entries(results).map(([name, { data, dims }]) => [
        name,
        float32Tensor(data as Float32Array, dims),
      ]);
      return Object.fromEntries(tensors) as Record<string, Float32Tensor>;
    } catch (error) {
      throw new LongVLMError(
        'ERR_LONGVLM_INFERENCE',
        `ONNX Runtime failed on ${this.device}: ${messageOf(error)}. If memory ran out, free some; else report it.`,
        { cause: error },
      );
    }
  }

  async release(): Promise<void> {
    await throughGate(() => this.#session.release());
  }
}

/** Whether a provider's library, a separate download, is installed. Without this check ONNX Runtime prints errors on stderr. */
function isInstalled(provider: string): boolean {
  const entry = createRequire(import.meta.url).resolve('onnxruntime-node');
  const libraries = join(dirname(entry), '../bin');
  const name = `onnxruntime_providers_${provider}.`;
  return (
    existsSync(libraries) && readdirSync(libraries, { recursive: true }).some((file) => String(file).includes(name))
  );
}

function open(model: OnnxModel, device: string, threads = availableParallelism()): Promise<ort.InferenceSession> {
  const folder = model.weightsFolder;
  return ort.InferenceSession.create(model.bytes, {
    executionProviders: [device],
    intraOpNumThreads: threads,
    // Errors reach the caller as exceptions; do not print them on stderr as well.
    logSeverityLevel: 4,
    extra: {
      session: {
        // Otherwise ONNX Runtime's threads spin after a run and take the cores from the work that follows.
        force_spinning_stop: '1',
        ...(folder !== undefined && { model_external_initializers_file_folder_path: folder }),
      },
    },
  });
}

function toOrt(tensors: Values): Record<string, ort.Tensor> {
  const entries = Object.entries(tensors).map(([name, { type, data, dims }]) => [
    name,
    type === 'uint8' ? new ort.Tensor('uint8', data, dims) : new ort.Tensor('float32', data, dims),
  ]);
  return Object.fromEntries(entries) as Record<string, ort.Tensor>;
}
