// Pickles made of random instructions, in an archive of PyTorch.
import { join } from 'node:path';
import { openWeights } from 'longvlm';
import { zip } from '../../test/fixtures/zip.js';
import type { Random } from '../random.js';
import type { Target } from '../target.js';

const uint32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};
const shortText = (value: string) => Buffer.concat([Buffer.from([0x8c, value.length]), Buffer.from(value)]);
const longText = (value: string) => Buffer.concat([Buffer.from('X'), uint32(value.length), Buffer.from(value)]);
const global = (module: string, name: string) => Buffer.from(`c${module}\n${name}\n`);

const globals = [
  ['torch._utils', '_rebuild_tensor_v2'],
  ['torch._utils', '_rebuild_parameter'],
  ['torch', 'FloatStorage'],
  ['torch', 'HalfStorage'],
  ['torch', 'Size'],
  ['torch', 'float32'],
  ['collections', 'OrderedDict'],
  ['collections', 'Counter'],
  ['builtins', 'set'],
  ['builtins', 'eval'],
  ['os', 'system'],
] as const;

// A tensor as torch.save writes it; what a part is replaced by makes it wrong.
const tensorParts = (random: Random): Buffer[] => {
  const size = random.chance(0.7) ? 4 : random.edge();
  return [
    global('torch._utils', '_rebuild_tensor_v2'),
    Buffer.from('(('),
    longText('storage'),
    global('torch', random.pick(['FloatStorage', 'HalfStorage', 'LongStorage'])),
    longText(random.pick(['0', '1', '../0', ''])),
    longText('cpu'),
    Buffer.concat([Buffer.from('J'), uint32(random.chance(0.8) ? 16 : random.edge())]),
    Buffer.from('tQ'),
    Buffer.concat([Buffer.from('J'), uint32(random.chance(0.8) ? 0 : random.edge())]),
    Buffer.concat([Buffer.from('J'), uint32(size), Buffer.from('J'), uint32(4), Buffer.from([0x86])]),
    Buffer.concat([
      Buffer.from('J'),
      uint32(random.chance(0.8) ? 4 : random.edge()),
      Buffer.from('K\x01'),
      Buffer.from([0x86]),
    ]),
    Buffer.from('\x89', 'latin1'),
    global('collections', 'OrderedDict'),
    Buffer.from(')RtR'),
  ];
};

const plain = [
  '(',
  ')',
  ']',
  '}',
  'N',
  '0',
  '2',
  '1',
  't',
  'R',
  'b',
  'a',
  'e',
  's',
  'u',
  'Q',
  'l',
  'd',
  '.',
  '\x81',
  '\x85',
  '\x86',
  '\x87',
  '\x88',
  '\x89',
  '\x90',
  '\x91',
  '\x8f',
  '\x92',
  '\x93',
  '\x94',
];

function instruction(random: Random): Buffer {
  return random.pick<() => Buffer>([
    () => Buffer.from(random.pick(plain), 'latin1'),
    () => Buffer.from(random.pick(plain), 'latin1'),
    () => Buffer.concat([Buffer.from('K'), random.bytes(1)]),
    () => Buffer.concat([Buffer.from('M'), random.bytes(2)]),
    () => Buffer.concat([Buffer.from('J'), uint32(random.edge())]),
    () => Buffer.concat([Buffer.from('G'), random.bytes(8)]),
    () => Buffer.concat([Buffer.from([0x8a, random.below(12)]), random.bytes(random.below(12))]),
    () => Buffer.concat([Buffer.from(random.pick(['q', 'h'])), Buffer.from([random.below(4)])]),
    () => Buffer.concat([Buffer.from(random.pick(['r', 'j'])), uint32(random.edge())]),
    () => shortText(random.pick(['mm_projector.weight', '__proto__', '', 'model.mm_projector.bias'])),
    () => Buffer.concat([Buffer.from(random.pick(['X', 'T', 'B', '\x8b']), 'latin1'), uint32(random.edge())]),
    () => {
      const [module, name] = random.pick(globals);
      return global(module, name);
    },
    () => Buffer.concat(tensorParts(random)),
  ])();
}

function program(random: Random): Buffer {
  const start = Buffer.from([0x80, random.chance(0.9) ? 2 : random.below(7)]);
  if (random.chance(0.3)) {
    // Nesting, and values that hold each other.
    const count = random.pick([10, 1000, 20_000]);
    return Buffer.concat([
      start,
      Buffer.from(
        random.pick([']', '(', '}', ']q\x00h\x00a', '](h\x00h\x00e', '\x85', '2\x86']).repeat(count),
        'latin1',
      ),
      Buffer.from('.'),
    ]);
  }
  if (random.chance(0.5)) {
    const parts = tensorParts(random);
    for (let left = random.below(3); left > 0; left--)
      parts.splice(random.below(parts.length), random.below(2), instruction(random));
    const item = Buffer.concat(parts);
    return Buffer.concat([start, Buffer.from('}'), shortText('mm_projector.weight'), item, Buffer.from('s.')]);
  }
  const body = Array.from({ length: random.between(1, 40) }, () => instruction(random));
  return Buffer.concat([start, ...body, Buffer.from('.')]);
}

export const pickle: Target = {
  name: 'pickle',
  ...{ batch: 2000, seconds: 10, megabytes: 1500, share: 1, argumentErrors: false },
  files: (random) => ({
    'model.bin': zip({
      'archive/data.pkl': program(random),
      'archive/byteorder': Buffer.from('little'),
      'archive/data/0': Buffer.alloc(64, 1),
      'archive/version': Buffer.from('3\n'),
    }),
  }),
  async run(folder) {
    const { tensors } = await openWeights(join(folder, 'model.bin'));
    for (const { shape } of tensors.values())
      if (!shape.every(Number.isSafeInteger)) throw new Error('a shape without sizes');
  },
};
