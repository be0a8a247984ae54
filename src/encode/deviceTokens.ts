// A video's tokens in the memory of a GPU, where the projector reads them. They come down when somebody wants to see them.
import type { Float32Tensor } from '../base/tensor.js';
import type { DeviceBuffer } from '../kernels/index.js';

/** Tensors of one video, and the values that they are going to have. */
type Filling = { readonly buffer: DeviceBuffer; readonly data: Float32Array };

// The last video's. Nobody disposes features: what is not used is freed with them, some time later. So that GPUs do not fill up
// until then, those of one video stay there, and come down when the next one is encoded.
let latest: WeakRef<DeviceTokens> | undefined;

export class DeviceTokens {
  readonly #tokens: Filling;
  readonly #all: readonly Filling[];
  #isDown = false;

  /**
   * @param tokens [tokens, C] on the GPU, and as many values on the host that hold nothing yet
   * @param sizes the same for the local tokens' sizes. Defaults to sizes that are on the host
   */
  constructor(tokens: Filling, sizes?: Filling) {
    this.#tokens = tokens;
    this.#all = sizes ? [tokens, sizes] : [tokens];
  }

  /** Brings down those that were told before. */
  async stay(): Promise<void> {
    const before = latest?.deref();
    latest = new WeakRef(this);
    // What cannot come down stays where it is, and says why when it is read.
    await before?.bringDown().catch(() => {});
  }

  /** Rows [from, to) on the GPU, to be disposed; undefined when they have come down. */
  rows(from: number, to: number): DeviceBuffer | undefined {
    return this.#isDown ? undefined : this.#tokens.buffer.rows(from, to);
  }

  /** Copies everything to the host, and frees it on the GPU. */
  async bringDown(): Promise<void> {
    if (this.#isDown) return;
    const found = await Promise.all(this.#all.map(({ buffer }) => buffer.download()));
    this.#fill(found.map(({ data }) => data as Float32Array));
  }

  /**
   * Lets the values of a tensor come down when they are read, if they are part of those that do not hold anything yet. That takes
   * less than a millisecond for a video of a hundred frames.
   */
  fillWhenRead(tensor: Float32Tensor): void {
    const { data } = tensor;
    if (this.#all.every((filling) => filling.data.buffer !== data.buffer)) return;
    Object.defineProperty(tensor, 'data', {
      enumerable: true,
      get: () => {
        if (!this.#isDown) this.#fill(this.#all.map(({ buffer }) => valuesIn(buffer)));
        return data;
      },
    });
  }

  /** Free to be called by two that came down at the same time: then the first one's values may be written to already. */
  #fill(found: readonly Float32Array[]): void {
    if (this.#isDown) return;
    this.#isDown = true;
    for (const [index, { buffer, data }] of this.#all.entries()) {
      data.set(found[index]!);
      buffer.dispose();
    }
  }
}

const valuesIn = (buffer: DeviceBuffer) => buffer.downloadSync().data as Float32Array;
