// Sessions of ONNX Runtime in the native addon, each with a thread that works beside the event loop.
import { availableParallelism } from 'node:os';
import { listen, raceAbort } from '../base/abort.js';
import { checkDescriptors, descriptorCause } from '../base/descriptors.js';
import { LongVLMError, messageOf } from '../base/errors.js';
import { wrongValue } from '../base/validate.js';
import { binding, fromNative, type NativeOperand, type NativeOrtSession, type NativeTask } from '../binding.js';
import { DeviceBuffer } from '../kernels/deviceBuffer.js';
import { isOutOfMemory, outOfMemory } from './gpuMemory.js';
import type { OnnxModel } from './graphBuilder.js';
import { type Candidate, ortLibrary, providersFor } from './ortLibrary.js';
import type { DeviceWork, Outputs, Transfer, Values } from './values.js';

/** How a session runs. */
export type SessionOptions = {
  /** `cpu`, `auto` (a GPU that works, else the CPU) or one of ONNX Runtime's other devices; `cuda:1` is the second GPU. */
  readonly device: string;
  /** Threads on the CPU; undefined for the number of cores. */
  readonly threads: number | undefined;
};

/** A run over `rows` rows, the first axis of each tensor, `batch` of them at once. */
export type RunCall = {
  readonly rows: number;
  readonly batch: number;
  readonly inputs: Values;
  readonly outputs: Outputs;
  /** For a session with {@link OrtSession.gpu}. */
  readonly work?: DeviceWork | undefined;
};

/** A graph that ONNX Runtime has loaded. */
export class OrtSession {
  /** The device that it runs on. */
  readonly device: string;
  /** The number of the GPU whose memory inputs and outputs can be in; undefined where they are on the host. */
  readonly gpu: number | undefined;
  readonly #session: NativeOrtSession;

  private constructor(session: NativeOrtSession, { device, gpu, kernels }: Candidate) {
    this.#session = session;
    this.device = device;
    this.gpu = kernels === undefined ? undefined : gpu;
  }

  /** Whether it runs on an NVIDIA GPU, or on what stands for one. */
  get isOnGpu(): boolean {
    return this.gpu !== undefined || this.device.startsWith('cuda');
  }

  /**
   * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a device that is not there; `ERR_LONGVLM_INFERENCE` when ONNX Runtime
   *   refuses the model; `signal.reason`
   */
  static async load(model: OnnxModel, { device, threads }: SessionOptions, signal?: AbortSignal): Promise<OrtSession> {
    checkRoom();
    const candidates = providersFor(device);
    for (const [index, candidate] of candidates.entries()) {
      try {
        return new OrtSession(await loaded(model, candidate, threads, signal), candidate);
      } catch (error) {
        signal?.throwIfAborted();
        if (device !== 'auto' && isOutOfMemory(error)) throw outOfMemory('The model', candidate.device, error);
        if (index === candidates.length - 1)
          throw new LongVLMError(
            'ERR_LONGVLM_INFERENCE',
            `ONNX Runtime cannot load the model on ${candidate.device}: ${messageOf(error)}. Check the weights, or try device cpu.`,
            { cause: error },
          );
      }
    }
    throw new Error('unreachable: the last candidate returned or threw');
  }

  /**
   * Writes the outputs in place. The memory of inputs and outputs must not be touched until the run has ended in native code,
   * which after an abort is a little later than here.
   * @throws LongVLMError `ERR_LONGVLM_INFERENCE`; `signal.reason`
   */
  async run({ rows, batch, inputs, outputs, work = {} }: RunCall, signal?: AbortSignal): Promise<void> {
    const { uploads = [], operations = [], downloads = [] } = work;
    const call = { session: this.#session, rows, batch, inputs: operands(inputs), outputs: operands(outputs) };
    const around = { uploads: transfers(uploads), operations, downloads: transfers(downloads) };
    try {
      await untilDone(binding().runOrtSession({ ...call, ...around }), signal);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof LongVLMError) throw error;
      throw new LongVLMError(
        'ERR_LONGVLM_INFERENCE',
        `ONNX Runtime failed on ${this.device}: ${messageOf(error)}. If memory ran out, free some; else report it.`,
        { cause: error },
      );
    }
  }

  /** Frees the session once earlier runs are done. */
  release(): Promise<void> {
    return binding().releaseOrtSession({ session: this.#session }).promise;
  }
}

/** Finding and opening the library and the weights takes some descriptors; without any, a library looks as if it were missing. */
function checkRoom(): void {
  try {
    checkDescriptors();
  } catch (error) {
    const [cause, remedy] = descriptorCause(error) ?? [messageOf(error), 'Try again.'];
    throw new LongVLMError('ERR_LONGVLM_INFERENCE', `ONNX Runtime cannot load the model: ${cause}. ${remedy}`, {
      cause: error,
    });
  }
}

async function loaded(
  model: OnnxModel,
  provider: Candidate,
  threads: number | undefined,
  signal: AbortSignal | undefined,
): Promise<NativeOrtSession> {
  const { session, ...loading } = open(model, provider, threads);
  try {
    await untilDone(loading, signal);
    return session;
  } catch (error) {
    binding()
      .releaseOrtSession({ session })
      .promise.catch(() => {});
    throw error;
  }
}

let endsAtExit = false;

// Node frees nothing of the main thread when a process exits, and ONNX Runtime must not be at work when the C library does.
function endAtExit(): void {
  if (!endsAtExit) process.once('exit', () => binding().endOrtSessions());
  endsAtExit = true;
}

function open(model: OnnxModel, provider: Candidate, threads = availableParallelism()) {
  const { name, gpu, kernels, options = {}, config = {} } = provider;
  const folder = model.weightsFolder;
  endAtExit();
  return binding().openOrtSession({
    library: ortLibrary(),
    model: model.bytes,
    provider: name,
    gpu,
    kernels,
    providerOptions: Object.entries(options).flat(),
    config: Object.entries({
      // Otherwise ONNX Runtime's threads spin after a run and take the cores from the work that follows.
      'session.force_spinning_stop': '1',
      // In the arena, whose blocks grow by powers of two, weights would take more room, and leave less free when they go.
      ...(name === 'cpu' && { 'session.use_device_allocator_for_initializers': '1' }),
      ...(folder !== undefined && { 'session.model_external_initializers_file_folder_path': folder }),
      ...config,
    }).flat(),
    threads,
  });
}

/** Waits for native work, which an abort ends. */
async function untilDone({ promise, cancel }: NativeTask, signal: AbortSignal | undefined): Promise<void> {
  const unlink = listen(signal, () => cancel());
  try {
    if (signal?.aborted) cancel();
    await raceAbort(promise, signal);
  } catch (error) {
    throw fromNative(error);
  } finally {
    unlink();
  }
}

function operands(values: Values): NativeOperand[] {
  return Object.entries(values).map(([name, tensor]) => {
    const { type, dims } = tensor;
    if (type === 'bfloat16' || type === 'int32') wrongValue(`${name}.type`, 'one of float32, float16 or uint8', type);
    return { name, type, dims, data: tensor instanceof DeviceBuffer ? tensor.native() : tensor.data };
  });
}

function transfers(list: readonly Transfer[]) {
  return list.map(({ buffer, data }) => ({ buffer: buffer.native(), data }));
}
