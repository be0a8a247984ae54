import type { Tensor } from 'longvlm';
import { MatrixProduct } from './matrixProduct.js';
import { MemoryReader } from './memoryReader.js';
import { type Measurement, median, rates, summarize } from './results.js';

type BoundTimes = { readonly read: number[][]; readonly product?: number[][] };

/** The bounds of our times: reading the input, and float32 products at the highest rate that was measured on this machine. */
export class Bounds {
  readonly #reader: MemoryReader;
  readonly #product: MatrixProduct | undefined;

  private constructor(reader: MemoryReader, product: MatrixProduct | undefined) {
    this.#reader = reader;
    this.#product = product;
  }

  /** Bounds for work on each of `inputs`, with or without matrix products. */
  static async create(inputs: readonly Tensor[], threads: number, flops: number): Promise<Bounds> {
    const product = flops > 0 ? await MatrixProduct.fastest(threads) : undefined;
    const buffers = inputs.map(({ data }) => data.buffer as SharedArrayBuffer);
    return new Bounds(await MemoryReader.create(buffers, threads), product);
  }

  /** The work of the bounds, to be called in turn with our own. */
  get works(): { read: () => void; product?: () => Promise<void> } {
    const product = this.#product;
    return { read: () => this.#reader.read(), ...(product && { product: () => product.run() }) };
  }

  /** The median over the rounds of the time of `ours` divided by the time of `reads` reads and `flops` of products. */
  compare(
    { ours, read, product }: BoundTimes & { readonly ours: number[][] },
    { reads, flops }: { readonly reads: number; readonly flops: number },
  ): NonNullable<Measurement['bound']> {
    const ratios = ours.map((samples, round) => {
      const products = this.#share(flops) * median(product?.[round] ?? [0]);
      return median(samples) / (reads * this.#once(median(read[round]!)) + products);
    });
    const names = [reads > 0 && `${reads} read${reads > 1 ? 's' : ''}`, flops > 0 && 'products'];
    return { name: names.filter(Boolean).join(' + '), ratio: median(ratios) };
  }

  /** The measurements of the bounds. */
  measurements({ read, product }: BoundTimes, bytes: number, flops: number): Measurement[] {
    const once = summarize(read.flat().map((milliseconds) => this.#once(milliseconds)));
    const measurements: Measurement[] = [{ what: 'one read', unit: 'ms', ...once, ...rates(once.median, bytes, 0) }];
    if (this.#product === undefined || product === undefined) return measurements;
    const products = summarize(product.flat().map((milliseconds) => milliseconds * this.#share(flops)));
    const note = `at the rate of ONNX Runtime's MatMul of two matrices of ${this.#product.size} × ${this.#product.size}`;
    return [...measurements, { what: 'products', unit: 'ms', ...products, ...rates(products.median, 0, flops), note }];
  }

  /** Times for one input, if several were read at a time. */
  #once(milliseconds: number): number {
    return milliseconds / this.#reader.buffersAtOnce;
  }

  #share(flops: number): number {
    return this.#product === undefined ? 0 : flops / this.#product.flops;
  }
}
