// Converts the reference implementation's results (test/fixtures/merge) to flat binaries for cuda_test.
//
//   node scripts/export-golden.mjs [DIR]      DIR defaults to build/golden
//
// A file NAME.bin, little-endian, without padding: 8 bytes 'LVGOLD01'; uint64 segments, tokens, channels, heads,
// levels, kept; uint32 schedule[levels]; float32 tokens[segments, tokens, channels]; float32 merged[segments, kept,
// channels]; float32 sizes[segments, kept]; int32 assignment[segments, tokens].
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const fixtures = fileURLToPath(new URL('../test/fixtures/merge/', import.meta.url));
const out = resolve(process.argv[2] ?? fileURLToPath(new URL('../build/golden/', import.meta.url)));

function readSafetensors(path) {
  const file = readFileSync(path);
  const headerBytes = Number(file.readBigUInt64LE(0));
  const { __metadata__: metadata, ...tensors } = JSON.parse(file.toString('utf8', 8, 8 + headerBytes));
  const bytes = (name) => file.subarray(...tensors[name].data_offsets.map((offset) => 8 + headerBytes + offset));
  return { metadata, shape: (name) => tensors[name].shape, bytes };
}

mkdirSync(out, { recursive: true });
for (const name of readdirSync(fixtures).filter((file) => file.endsWith('.safetensors'))) {
  const { metadata, shape, bytes } = readSafetensors(join(fixtures, name));
  const schedule = JSON.parse(metadata.schedule);
  const [segments, tokens, channels] = shape('tokens');
  const numbers = [segments, tokens, channels, metadata.heads, schedule.length, shape('merged')[1]];
  const content = [
    Buffer.from('LVGOLD01'),
    Buffer.from(BigUint64Array.from(numbers, BigInt).buffer),
    Buffer.from(Uint32Array.from(schedule).buffer),
    ...['tokens', 'merged', 'sizes', 'assignment'].map(bytes),
  ];
  writeFileSync(join(out, name.replace('.safetensors', '.bin')), Buffer.concat(content));
}
