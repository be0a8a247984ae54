// The reference rate of float32 matrix products on this machine: ONNX Runtime's MatMul.
import type { Float32Tensor } from '../dist/base/tensor.js';
import { randomTensor } from './inputs.js';
import { dataTypes, encodeModel, OrtSession } from './packageFiles.js';

// From small to large, because more threads need more work. Larger sizes are skipped once a product takes this long.
const sizes = [512, 768, 1024, 2048, 4096];
const longEnoughMs = 25;
const callsOfEach = 8;

/** The product of two square matrices. */
export class MatrixProduct {
  readonly size: number;
  readonly flops: number;
  readonly #session: Awaited<ReturnType<typeof OrtSession.load>>;
  readonly #inputs: Record<string, Float32Tensor>;
  readonly #outputs: Record<string, Float32Tensor>;

  private constructor(size: number, session: Awaited<ReturnType<typeof OrtSession.load>>) {
    this.size = size;
    this.flops = 2 * size ** 3;
    this.#session = session;
    const tensor = (data: Float32Array): Float32Tensor => ({ type: 'float32', data, dims: [size, size] });
    this.#inputs = { a: tensor(matrix(size)) };
    this.#outputs = { product: tensor(new Float32Array(size * size)) };
  }

  static async create(size: number, threads: number): Promise<MatrixProduct> {
    const graph = { bytes: model(size), weightsFolder: undefined };
    return new MatrixProduct(size, await OrtSession.load(graph, { device: 'cpu', threads }));
  }

  /** The size with the highest rate. */
  static async fastest(threads: number): Promise<MatrixProduct> {
    let best: { product: MatrixProduct; rate: number } | undefined;
    for (const size of sizes) {
      const product = await MatrixProduct.create(size, threads);
      let shortest = Number.POSITIVE_INFINITY;
      for (let call = 0; call < callsOfEach; call++) {
        const start = performance.now();
        await product.run();
        shortest = Math.min(shortest, performance.now() - start);
      }
      const rate = product.flops / shortest;
      if (best === undefined || rate > best.rate) best = { product, rate };
      if (shortest > longEnoughMs) break;
    }
    return best!.product;
  }

  async run(): Promise<void> {
    const { size } = this;
    await this.#session.run({ rows: size, batch: size, inputs: this.#inputs, outputs: this.#outputs });
  }
}

/** Random values, in memory that is not shared. */
function matrix(size: number): Float32Array {
  return (randomTensor('float32', [size, size]).data as Float32Array).slice();
}

/** `a` times a constant matrix, which ONNX Runtime packs once. */
function model(size: number): Uint8Array {
  const value = (name: string) => ({
    name,
    type: { tensorType: { elemType: dataTypes.F32, shape: { dim: [{ dimValue: size }, { dimValue: size }] } } },
  });
  const values = matrix(size);
  return encodeModel({
    irVersion: 9,
    producerName: 'longvlm',
    opsetImport: [{ domain: '', version: 20 }],
    graph: {
      name: 'product',
      node: [{ name: 'product', opType: 'MatMul', domain: '', input: ['a', 'b'], output: ['product'], attribute: [] }],
      initializer: [{ name: 'b', dataType: dataTypes.F32, dims: [size, size], rawData: new Uint8Array(values.buffer) }],
      input: [value('a')],
      output: [value('product')],
    },
  });
}
