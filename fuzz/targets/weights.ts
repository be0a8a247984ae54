// Files of weights, each format. What can be opened is read, and offered as a projector and as a tower.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openWeights } from 'longvlm';
import { zip } from '../../test/fixtures/zip.js';
import { ggufFields } from '../ggufFields.js';
import { mutateBytes, mutateJson, writeEdge } from '../mutate.js';
import { fixture, openProjector, openTower, readFloatTensor } from '../package.js';
import type { Random } from '../random.js';
import type { Files, Target } from '../target.js';

const limits = { batch: 2000, seconds: 10, megabytes: 1500, share: 1, argumentErrors: false } as const;
const mostTensors = 20;

async function useWeights(path: string): Promise<void> {
  const file = await openWeights(path);
  for (const tensor of [...file.tensors.values()].slice(0, mostTensors)) {
    if (!['F32', 'F16', 'BF16'].includes(tensor.type)) continue;
    const { data, dims } = await readFloatTensor(tensor);
    if (data.length !== dims.reduce((product, size) => product * size, 1)) throw new Error('values and shape differ');
  }
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

const read = (path: string) => once(() => readFileSync(fixture(path)));

// safetensors: a length, a header of JSON, the values.
function withHeader(original: Buffer, header: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, original.subarray(8 + Number(original.readBigUInt64LE()))]);
}

function headerOf(original: Buffer): unknown {
  return JSON.parse(original.toString('utf8', 8, 8 + Number(original.readBigUInt64LE())));
}

export function mutateSafetensors(original: Buffer, random: Random): Buffer {
  if (random.chance(0.3)) return mutateBytes(original, random, 16);
  return random.chance(0.3)
    ? mutateBytes(original, random, 8 + Number(original.readBigUInt64LE()))
    : withHeader(original, mutateJson(headerOf(original), random));
}

const projector = read('pico/projector.safetensors');
const mlp = read('vision/projector_mlp.safetensors');

const safetensors: Target = {
  ...limits,
  name: 'safetensors',
  files: (random) => ({ 'projector.safetensors': mutateSafetensors(random.pick([projector, mlp])(), random) }),
  async run(folder) {
    const path = join(folder, 'projector.safetensors');
    await openProjector(path);
    await useWeights(path);
  },
};

const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const;

function shardFiles(random: Random): Files {
  const names = (bytes: Buffer) => Object.keys(headerOf(bytes) as object).filter((name) => name !== '__metadata__');
  const weight_map = Object.fromEntries(
    [projector(), mlp()].flatMap((bytes, i) => names(bytes).map((name) => [name, shards[i]!])),
  );
  const index = { metadata: { total_size: 33000 }, weight_map };
  const inIndex = random.chance(0.7);
  return {
    'model.safetensors.index.json': inIndex ? mutateJson(index, random) : Buffer.from(JSON.stringify(index)),
    [shards[0]]: inIndex ? projector() : mutateSafetensors(projector(), random),
    ...(!random.chance(0.1) && { [shards[1]]: mlp() }),
  };
}

const sharded: Target = {
  ...limits,
  name: 'sharded',
  files: shardFiles,
  run: (folder) => useWeights(join(folder, 'model.safetensors.index.json')),
};

const archives = [
  'pytorch/mixed.pt',
  'pytorch/module.pt',
  'pytorch/state_dict.pt',
  'pytorch/before_1_6.pt',
  'pico/mm_projector.bin',
].map(read);

/** The stored records of an archive, found as a reader does that trusts nothing else. */
export function recordsOf(archive: Buffer): Record<string, Buffer> {
  const records: Record<string, Buffer> = {};
  for (let at = 0; archive.readUInt32LE(at) === 0x04034b50; ) {
    const size = archive.readUInt32LE(at + 18);
    const name = archive.toString('utf8', at + 30, at + 30 + archive.readUInt16LE(at + 26));
    const start = at + 30 + archive.readUInt16LE(at + 26) + archive.readUInt16LE(at + 28);
    records[name] = archive.subarray(start, start + size);
    at = start + size;
    // A descriptor may follow.
    if (archive.readUInt32LE(at) === 0x08074b50) at += 16;
  }
  return records;
}

function mutatePytorch(original: Buffer, random: Random): Buffer {
  if (random.chance(0.4) || original.readUInt32LE(0) !== 0x04034b50) {
    // The directory is at the end.
    if (random.chance(0.5)) return mutateBytes(original, random);
    const tail = Math.min(original.length, 600);
    return Buffer.concat([original.subarray(0, -tail), mutateBytes(original.subarray(-tail), random)]);
  }
  const records = recordsOf(original);
  const name = Object.keys(records).find((each) => each.endsWith('data.pkl')) ?? Object.keys(records)[0]!;
  records[name] = mutateBytes(records[name]!, random);
  return zip(records);
}

const pytorch: Target = {
  ...limits,
  name: 'pytorch',
  files: (random) => ({ 'mm_projector.bin': mutatePytorch(random.pick(archives)(), random) }),
  async run(folder) {
    const path = join(folder, 'mm_projector.bin');
    await useWeights(path);
    await openProjector(path);
  },
};

export function mutateGguf(original: Buffer, random: Random): Buffer {
  const fields = ggufFields(original);
  const end = fields.at(-1)!.at;
  if (random.chance(0.3)) return mutateBytes(original, random, end);
  const bytes = Buffer.from(original);
  for (let left = random.pick([1, 1, 2, 4]); left > 0; left--) {
    const { at, size } = random.pick(fields);
    writeEdge(bytes, at, size, true, random);
  }
  return bytes;
}

const gguf = (name: string, path: string, run: (path: string) => Promise<void>): Target => {
  const original = read(path);
  return {
    ...limits,
    name,
    files: (random) => ({ 'model.gguf': mutateGguf(original(), random) }),
    run: (folder) => run(join(folder, 'model.gguf')),
  };
};

export const weightTargets: readonly Target[] = [
  safetensors,
  sharded,
  pytorch,
  gguf('mmproj', 'pico/mmproj.gguf', async (path) => {
    const { graph } = await openTower(path);
    graph({ classTokens: 1 } as never);
    await openProjector(path);
    await useWeights(path);
  }),
  gguf('ggufLlm', 'pico/llm.gguf', async (path) => {
    await openWeights(path);
  }),
];
