// Decodes ggml's quantised blocks. Layouts: ggml's quants (block_q4_0 and so on), as in gguf-py.
import { Pace } from '../base/pace.js';
import { halfToNumber } from '../base/tensor.js';

type Block = {
  readonly elements: number;
  readonly bytes: number;
  /** Decodes the block that starts at byte `at`, and writes its values from index `to`. */
  readonly read: (view: DataView, at: number, values: Float32Array, to: number) => void;
};

const half = (view: DataView, at: number) => halfToNumber(view.getUint16(at, true));

/** The nibbles of 32 elements: the low nibbles of all bytes first, then the high ones. */
function nibbles(view: DataView, at: number, use: (index: number, nibble: number) => void): void {
  for (let i = 0; i < 16; i++) {
    const byte = view.getUint8(at + i);
    use(i, byte & 15);
    use(i + 16, byte >> 4);
  }
}

// Q4_K and Q5_K: eight scales and eight minima of six bits, in twelve bytes.
function scaleAndMinimum(view: DataView, at: number, group: number): [number, number] {
  const byte = (index: number) => view.getUint8(at + index);
  if (group < 4) return [byte(group) & 63, byte(group + 4) & 63];
  return [(byte(group + 4) & 15) | ((byte(group - 4) >> 6) << 4), (byte(group + 4) >> 4) | ((byte(group) >> 6) << 4)];
}

const blocks: Readonly<Record<string, Block>> = {
  Q4_0: {
    elements: 32,
    bytes: 18,
    read: (view, at, values, to) => {
      const scale = half(view, at);
      nibbles(view, at + 2, (i, nibble) => {
        values[to + i] = scale * (nibble - 8);
      });
    },
  },
  Q4_1: {
    elements: 32,
    bytes: 20,
    read: (view, at, values, to) => {
      const [scale, minimum] = [half(view, at), half(view, at + 2)];
      nibbles(view, at + 4, (i, nibble) => {
        values[to + i] = scale * nibble + minimum;
      });
    },
  },
  Q5_0: {
    elements: 32,
    bytes: 22,
    read: (view, at, values, to) => {
      const [scale, high] = [half(view, at), view.getUint32(at + 2, true)];
      nibbles(view, at + 6, (i, nibble) => {
        values[to + i] = scale * ((nibble | (((high >>> i) & 1) << 4)) - 16);
      });
    },
  },
  Q5_1: {
    elements: 32,
    bytes: 24,
    read: (view, at, values, to) => {
      const [scale, minimum, high] = [half(view, at), half(view, at + 2), view.getUint32(at + 4, true)];
      nibbles(view, at + 8, (i, nibble) => {
        values[to + i] = scale * (nibble | (((high >>> i) & 1) << 4)) + minimum;
      });
    },
  },
  Q8_0: {
    elements: 32,
    bytes: 34,
    read: (view, at, values, to) => {
      const scale = half(view, at);
      for (let i = 0; i < 32; i++) values[to + i] = scale * view.getInt8(at + 2 + i);
    },
  },
  Q4_K: {
    elements: 256,
    bytes: 144,
    read: (view, at, values, to) => {
      const [scales, minima] = [half(view, at), half(view, at + 2)];
      for (let i = 0; i < 256; i++) {
        const group = i >> 5;
        const byte = view.getUint8(at + 16 + 32 * (group >> 1) + (i & 31));
        const [scale, minimum] = scaleAndMinimum(view, at + 4, group);
        values[to + i] = scales * scale * (group & 1 ? byte >> 4 : byte & 15) - minima * minimum;
      }
    },
  },
  Q5_K: {
    elements: 256,
    bytes: 176,
    read: (view, at, values, to) => {
      const [scales, minima] = [half(view, at), half(view, at + 2)];
      for (let i = 0; i < 256; i++) {
        const group = i >> 5;
        const byte = view.getUint8(at + 48 + 32 * (group >> 1) + (i & 31));
        const high = (view.getUint8(at + 16 + (i & 31)) >> group) & 1;
        const [scale, minimum] = scaleAndMinimum(view, at + 4, group);
        values[to + i] = scales * scale * ((group & 1 ? byte >> 4 : byte & 15) | (high << 4)) - minima * minimum;
      }
    },
  },
  Q6_K: {
    elements: 256,
    bytes: 210,
    read: (view, at, values, to) => {
      const scales = half(view, at + 208);
      for (let i = 0; i < 256; i++) {
        const [side, quarter, lane] = [i >> 7, (i >> 5) & 3, i & 31];
        const low = view.getUint8(at + 64 * side + 32 * (quarter & 1) + lane);
        const high = (view.getUint8(at + 128 + 32 * side + lane) >> (2 * quarter)) & 3;
        const value = ((quarter & 2 ? low >> 4 : low & 15) | (high << 4)) - 32;
        values[to + i] = scales * view.getInt8(at + 192 + (i >> 4)) * value;
      }
    },
  },
};

/** Whether {@link dequantize} knows `type`. */
export function isQuantized(type: string): boolean {
  return Object.hasOwn(blocks, type);
}

const blocksInOneGo = 512;

/** The values of whole blocks of `type`, one that {@link isQuantized}. */
export async function dequantize(type: string, bytes: Uint8Array): Promise<Float32Array<ArrayBuffer>> {
  const { elements, bytes: blockBytes, read } = blocks[type]!;
  const count = bytes.byteLength / blockBytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float32Array(count * elements);
  const pace = new Pace();
  for (let block = 0; block < count; block++) {
    read(view, block * blockBytes, values, block * elements);
    if (block % blocksInOneGo === 0 && pace.isDue) await pace.rest();
  }
  return values;
}
