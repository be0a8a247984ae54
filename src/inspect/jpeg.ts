// Small pictures as JPEG (ITU-T T.81, baseline, 4:4:4), so that no program has to be started for each thumbnail.

const lumaSteps = [
  ...[16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56],
  ...[14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92],
  ...[49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99],
];
const chromaSteps = Array.from({ length: 64 }, (_, at) => {
  const near = [
    [17, 18, 24, 47],
    [18, 21, 26, 66],
    [24, 26, 56],
    [47, 66],
  ];
  return near[at >> 3]?.[at & 7] ?? 99;
});

/** Indices of coefficients in the order of the file: diagonal by diagonal. */
const zigzag = Array.from({ length: 64 }, (_, at) => at).sort((a, b) => {
  const [x, y, u, v] = [a & 7, a >> 3, b & 7, b >> 3];
  return x + y - (u + v) || ((x + y) % 2 === 0 ? x - u : y - v);
});

type Huffman = { readonly counts: readonly number[]; readonly values: readonly number[] };

const bytes = (hex: string) => hex.match(/../g)!.map((each) => Number.parseInt(each, 16));
/** Of differences of means, and of other coefficients: the tables that the standard gives for brightness. */
const meansTable: Huffman = {
  counts: bytes('00010501010101010100000000000000'),
  values: bytes('000102030405060708090a0b'),
};
const othersTable: Huffman = {
  counts: bytes('0002010303020403050504040000017d'),
  values: bytes(
    '01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a' +
      '434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aa' +
      'b2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa',
  ),
};

type Code = { readonly bits: number; readonly length: number };

function codesOf({ counts, values }: Huffman): readonly (Code | undefined)[] {
  const codes: Code[] = [];
  let [code, next] = [0, 0];
  for (const [index, count] of counts.entries()) {
    for (let i = 0; i < count; i++) codes[values[next++]!] = { bits: code++, length: index + 1 };
    code <<= 1;
  }
  return codes;
}

const meansCodes = codesOf(meansTable);
const othersCodes = codesOf(othersTable);

/** cosines[u · 8 + x], with the factors of the transform. */
const cosines = Float64Array.from({ length: 64 }, (_, at) => {
  const [u, x] = [at >> 3, at & 7];
  return (u === 0 ? Math.SQRT1_2 : 1) * 0.5 * Math.cos(((2 * x + 1) * u * Math.PI) / 16);
});

/** A picture: RGB, row by row. */
export type Picture = { readonly width: number; readonly height: number; readonly data: Uint8Array };

/** @param quality from 1 to 100, as libjpeg counts it */
export function encodeJpeg({ width, height, data }: Picture, quality = 80): Uint8Array {
  const scale = quality < 50 ? 5000 / quality : 200 - 2 * quality;
  const steps = [lumaSteps, chromaSteps].map((table) =>
    table.map((step) => Math.min(255, Math.max(1, Math.floor((step * scale + 50) / 100)))),
  );
  const out = new BitWriter();
  out.bytes([0xff, 0xd8, 0xff, 0xe0, 0, 16, 0x4a, 0x46, 0x49, 0x46, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0]);
  for (const [id, table] of steps.entries()) out.bytes([0xff, 0xdb, 0, 67, id, ...zigzag.map((at) => table[at]!)]);
  out.bytes([0xff, 0xc0, 0, 17, 8, height >> 8, height & 255, width >> 8, width & 255]);
  out.bytes([3, 1, 0x11, 0, 2, 0x11, 1, 3, 0x11, 1]);
  for (const [id, { counts, values }] of [
    [0, meansTable],
    [0x10, othersTable],
  ] as const)
    out.bytes([0xff, 0xc4, 0, 19 + values.length, id, ...counts, ...values]);
  out.bytes([0xff, 0xda, 0, 12, 3, 1, 0, 2, 0, 3, 0, 0, 63, 0]);
  const before = [0, 0, 0];
  const planes = [0, 1, 2].map(() => new Float64Array(64));
  for (let y = 0; y < height; y += 8)
    for (let x = 0; x < width; x += 8) {
      readBlock(width, height, data, x, y, planes);
      for (const [plane, values] of planes.entries())
        before[plane] = writeBlock(out, values, steps[plane === 0 ? 0 : 1]!, before[plane]!);
    }
  out.pad();
  out.bytes([0xff, 0xd9]);
  return out.take();
}

/** Brightness and two colours of a block, around 0. At the edges the last pixels are repeated. */
function readBlock(width: number, height: number, data: Uint8Array, left: number, top: number, planes: Float64Array[]) {
  const [luma, blue, red] = planes as [Float64Array, Float64Array, Float64Array];
  for (let at = 0; at < 64; at++) {
    const x = Math.min(width - 1, left + (at & 7));
    const y = Math.min(height - 1, top + (at >> 3));
    const pixel = (y * width + x) * 3;
    const [r, g, b] = [data[pixel]!, data[pixel + 1]!, data[pixel + 2]!];
    luma[at] = 0.299 * r + 0.587 * g + 0.114 * b - 128;
    blue[at] = -0.168736 * r - 0.331264 * g + 0.5 * b;
    red[at] = 0.5 * r - 0.418688 * g - 0.081312 * b;
  }
}

const half = new Float64Array(64);
const found = new Int32Array(64);

/** @returns the block's mean, of which the next one's difference is written */
function writeBlock(out: BitWriter, values: Float64Array, steps: readonly number[], before: number): number {
  for (let u = 0; u < 8; u++)
    for (let y = 0; y < 8; y++) {
      let sum = 0;
      for (let x = 0; x < 8; x++) sum += cosines[u * 8 + x]! * values[y * 8 + x]!;
      half[y * 8 + u] = sum;
    }
  for (const [at, place] of zigzag.entries()) {
    const [u, v] = [place & 7, place >> 3];
    let sum = 0;
    for (let y = 0; y < 8; y++) sum += cosines[v * 8 + y]! * half[y * 8 + u]!;
    found[at] = Math.round(sum / steps[place]!);
  }
  const difference = found[0]! - before;
  const length = bitLength(difference);
  out.code(meansCodes[length]!);
  out.value(difference, length);
  let zeros = 0;
  let last = 63;
  while (last > 0 && found[last] === 0) last--;
  for (let at = 1; at <= last; at++) {
    const value = found[at]!;
    if (value === 0) {
      zeros++;
      continue;
    }
    for (; zeros > 15; zeros -= 16) out.code(othersCodes[0xf0]!);
    const bits = bitLength(value);
    out.code(othersCodes[(zeros << 4) | bits]!);
    out.value(value, bits);
    zeros = 0;
  }
  if (last < 63) out.code(othersCodes[0]!);
  return found[0]!;
}

const bitLength = (value: number) => 32 - Math.clz32(Math.abs(value));

class BitWriter {
  readonly #out: number[] = [];
  #bits = 0;
  #count = 0;

  bytes(values: readonly number[]): void {
    for (const value of values) this.#out.push(value);
  }

  code({ bits, length }: Code): void {
    this.#push(bits, length);
  }

  /** The lowest `length` bits; of negative numbers those of one less. */
  value(value: number, length: number): void {
    if (length > 0) this.#push((value < 0 ? value - 1 : value) & ((1 << length) - 1), length);
  }

  pad(): void {
    if (this.#count > 0) this.#push((1 << (8 - this.#count)) - 1, 8 - this.#count);
  }

  take(): Uint8Array {
    return Uint8Array.from(this.#out);
  }

  #push(bits: number, length: number): void {
    this.#bits = (this.#bits << length) | bits;
    this.#count += length;
    while (this.#count >= 8) {
      const byte = (this.#bits >>> (this.#count - 8)) & 255;
      this.#out.push(byte);
      // A byte of ones would begin a marker.
      if (byte === 255) this.#out.push(0);
      this.#count -= 8;
    }
    this.#bits &= (1 << this.#count) - 1;
  }
}
