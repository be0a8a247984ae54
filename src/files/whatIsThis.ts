// Says what a file is that was given in place of weights: downloads that went wrong, and files of other tools.
import { LongVLMError } from '../base/errors.js';
import { printable } from '../base/printable.js';

/** Bytes from a file's start that tell every kind apart. */
export const headBytes = 4096;

type Kind = {
  /** What it is, with an article. */
  readonly is: string;
  /** A sentence. */
  readonly remedy: string;
  readonly matches: (head: Buffer, text: string) => boolean;
};

const begins =
  (...words: readonly string[]) =>
  (_: Buffer, text: string) =>
    words.some((word) => text.startsWith(word));
const holdsAt = (at: number, word: string) => (_: Buffer, text: string) => text.startsWith(word, at);

const again = 'Download the file again.';
const logIn =
  'Download the file again: log in first where the model asks for it, and take the address of the file itself.';
const unpack = 'Unpack it, and give the file of weights in it.';
const convert = 'Give the same model as .safetensors, .gguf or a PyTorch file.';

const media = ['\x1a\x45\xdf\xa3', '\x89PNG', '\xff\xd8\xff', 'GIF8', 'RIFF', 'OggS', 'FLV\x01'];

// Texts last: they are told by what they are not. `text` is the head as latin1, a character a byte.
const kinds: readonly Kind[] = [
  { is: 'an empty file', remedy: again, matches: ({ length }) => length === 0 },
  {
    is: 'nothing but zeros at its start, as a download leaves it that was not finished',
    remedy: again,
    matches: (head) => head.every((byte) => byte === 0),
  },
  {
    is: 'a pointer of git-lfs, which stands for the file',
    remedy: "Run 'git lfs pull' in its folder, or download the file itself.",
    matches: begins('version https://git-lfs', 'version https://hawser'),
  },
  { is: 'a web page', remedy: logIn, matches: (_, text) => /^\s*<(!doctype html|html|head|body)/i.test(text) },
  { is: 'an XML text', remedy: logIn, matches: (_, text) => /^\s*<[?!a-z]/i.test(text) },
  {
    is: 'a GGUF file of a machine with another byte order',
    remedy: "Convert it with gguf-py's gguf_convert_endian.py, or get the usual one.",
    matches: (head, text) => text.startsWith('FUGG') || (text.startsWith('GGUF\0\0\0') && head[7]! < 16),
  },
  {
    is: 'a GGUF file of version 1, which llama.cpp does not read any more',
    remedy: 'Get a newer one of this model.',
    matches: begins('GGUF\x01\0\0\0'),
  },
  {
    is: 'a file of GGML from before GGUF, which llama.cpp does not read any more',
    remedy: 'Get the model as .gguf.',
    matches: begins('lmgg', 'ggml', 'fmgg', 'ggmf', 'tjgg', 'ggjt', 'algg', 'ggla'),
  },
  { is: 'an HDF5 file, as Keras writes them', remedy: convert, matches: begins('\x89HDF\r\n') },
  { is: 'an array of NumPy', remedy: convert, matches: begins('\x93NUMPY') },
  { is: 'a TensorFlow Lite model', remedy: convert, matches: holdsAt(4, 'TFL3') },
  {
    is: 'an ONNX or TensorFlow model',
    remedy: convert,
    // Protobuf: field 1, a small version, then another field of a few.
    matches: (head) => head[0] === 8 && head[1]! <= 20 && [0x12, 0x1a, 0x22, 0x3a, 0x42].includes(head[2]!),
  },
  { is: 'a gzip archive', remedy: unpack, matches: begins('\x1f\x8b') },
  { is: 'a bzip2 archive', remedy: unpack, matches: begins('BZh') },
  { is: 'an xz archive', remedy: unpack, matches: begins('\xfd7zXZ') },
  { is: 'a zstd archive', remedy: unpack, matches: begins('\x28\xb5\x2f\xfd') },
  { is: 'a 7-Zip archive', remedy: unpack, matches: begins('7z\xbc\xaf\x27\x1c') },
  { is: 'a RAR archive', remedy: unpack, matches: begins('Rar!') },
  { is: 'a tar archive', remedy: unpack, matches: holdsAt(257, 'ustar') },
  { is: 'an empty zip archive', remedy: again, matches: begins('PK\x05\x06') },
  {
    is: 'a video or a picture',
    remedy: 'Give the weights of a model here.',
    matches: (_, text) => text.startsWith('ftyp', 4) || media.some((word) => text.startsWith(word)),
  },
  { is: 'a PDF', remedy: 'Give the weights of a model here.', matches: begins('%PDF') },
  {
    is: 'a program',
    remedy: 'Give the weights of a model here.',
    matches: begins('\x7fELF', 'MZ', '\xcf\xfa\xed\xfe', '#!'),
  },
  {
    is: 'the index of a model in several files',
    remedy: "Name it so that it ends with '.index.json', as it was, or give its folder.",
    matches: (_, text) => text.startsWith('{') && text.includes('"weight_map"'),
  },
];

const shownCharacters = 60;

/**
 * What a file is that holds no weights, by its first {@link headBytes} bytes (all of a shorter one), and what to do: two
 * sentences. Undefined when it may hold weights, or cannot be told.
 */
export function describeForeignFile(head: Buffer): string | undefined {
  const text = head.toString('latin1');
  const found = kinds.find(({ matches }) => matches(head, text));
  if (found) return `It is ${found.is}. ${found.remedy}`;
  if (weightFormat(head)) return undefined;
  const words = head.toString('utf8').trim();
  // The last character may have been cut.
  if (/[^\P{Cc}\t\n\v\f\r]|\ufffd/u.test(words.slice(0, -1))) return undefined;
  const isJson = /^[[{]/.test(words);
  const shown = printable(words.slice(0, shownCharacters).replace(/\s+/g, ' '));
  return `It is ${isJson ? 'a JSON text' : 'a text'} that begins '${shown}'. ${isJson || words.length < 200 ? logIn : 'Give the weights of a model here.'}`;
}

const formats = {
  gguf: 'a GGUF file',
  safetensors: 'a safetensors file',
  zip: 'a zip archive, as PyTorch writes them',
  pickle: 'a PyTorch file',
};

/** A format that weights are read from; `zip` and `pickle` are PyTorch's. */
export type WeightFormat = keyof typeof formats;

// What torch.save wrote before it wrote archives begins with this number, in a pickle.
const torchMagic = Buffer.from('8a0a6cfc9c46f9206aa85019', 'hex');

/** The format of a file by its first {@link headBytes} bytes. */
export function weightFormat(head: Buffer): WeightFormat | undefined {
  // safetensors first: it starts with a length, whose bytes may look like any other format.
  if (head[8] === 0x7b) return 'safetensors';
  const word = head.toString('latin1', 0, 4);
  if (word === 'GGUF') return 'gguf';
  if (word === 'PK\x03\x04') return 'zip';
  return head[0] === 0x80 && head.subarray(0, 32).includes(torchMagic) ? 'pickle' : undefined;
}

/**
 * The error for a file that is not of format `wanted`, or of none of ours, if it can be told what it is.
 */
export function foreignFileError(path: string, head: Buffer, wanted?: WeightFormat): LongVLMError | undefined {
  const format = weightFormat(head);
  const other = wanted && format && format !== wanted;
  const text =
    describeForeignFile(head) ??
    (other ? `not ${formats[wanted]}, but ${formats[format]}. ${remedyFor(wanted)}` : undefined);
  return text === undefined ? undefined : new LongVLMError('ERR_LONGVLM_WEIGHTS', `${printable(path)}: ${text}`);
}

function remedyFor(wanted: WeightFormat): string {
  if (wanted === 'gguf') return "Give a .gguf file: llama.cpp's convert_hf_to_gguf.py makes one of a model's folder.";
  return `Give ${formats[wanted]}.`;
}
