// Checks of a language model's header, before llama.cpp sees the file: what llama.cpp takes for granted there ends the process
// with GGML_ASSERT, where it is not so.
import { LongVLMError } from '../base/errors.js';
import type { GgufFile, GgufValue } from '../files/gguf.js';
import { numberIn, wordIn } from '../files/metadataValues.js';
import { weightsError } from '../files/tensorFile.js';
import { equalHeads } from './equalHeads.js';
import { checkVocabulary } from './vocabulary.js';

// llama.cpp's own limits.
const maxLayers = 512;
const maxExperts = 1024;
const maxInteger = 0x7fffffff;
// Where ggml needs tensors to lie, whatever a file says.
const tensorAlignment = 32;
const notOfWeights: ReadonlySet<string> = new Set(['F64', 'I64', 'I32', 'I16', 'I8']);

const encoders = [
  ...['bert', 'modern-bert', 'nomic-bert', 'nomic-bert-moe', 'neo-bert', 'jina-bert-v2', 'jina-bert-v3', 'eurobert'],
  ...['t5encoder', 'gemma-embedding', 'llama-embed'],
];
const others: Readonly<Record<string, string>> = {
  ...Object.fromEntries(encoders.map((name) => [name, 'makes embeddings of texts, and no text'])),
  ...Object.fromEntries(
    ['dream', 'llada', 'llada-moe', 'rnd1'].map((name) => [name, 'writes by diffusion, which is not supported']),
  ),
  t5: 'is an encoder and a decoder, which is not supported',
  'wavtokenizer-dec': 'makes sounds, and no text',
  qwen3tts: 'makes sounds, and no text',
  dflash: 'is a draft for another model',
  eagle3: 'is a draft for another model',
};
/** Architectures that place tokens in time, height and width (M-RoPE) as {@link evaluateEmbeddings} does. */
const threeAxes: ReadonlySet<string> = new Set(['qwen2vl', 'qwen3vl', 'qwen3vlmoe']);
/** Others whose positions are always several. More have them where their header has sections. */
const otherAxes: ReadonlySet<string> = new Set(['qwen35', 'qwen35moe', 'qwen4exp', 'qwen3tts', 'paddleocr']);
/** Plain transformers, whose tensors have the sizes that follow from their header. */
const plain: ReadonlySet<string> = new Set([
  ...['llama', 'qwen2', 'qwen3', 'gemma', 'gemma2', 'gemma3', 'phi3', 'internlm2', 'mistral3', 'smollm3', 'olmo2'],
  ...['qwen2vl', 'qwen3vl', 'granite', 'minicpm', 'starcoder2', 'command-r', 'exaone', 'baichuan'],
]);

/** Of these, those whose heads are turned in part, or are of two lengths. */
const partlyTurned: ReadonlySet<string> = new Set(['gemma', 'gemma2', 'gemma3', 'phi3', 'command-r', 'minicpm']);

/** What a language model takes instead of the embedding of a token. */
export type ModelInput = {
  /** Width of an embedding. */
  readonly width: number;
  /** Rows of that width which later layers add to an embedding; they follow it (DeepStack). */
  readonly rows: number;
  /** Positions of a token: 1, or 3 for time, height and width. */
  readonly axes: 1 | 3;
};

/** The input of a model whose header {@link checkLanguageModel} has checked. */
export function modelInput({ metadata }: Pick<GgufFile, 'metadata'>): ModelInput {
  const architecture = wordIn(metadata, 'general.architecture');
  return {
    width: numberIn(metadata, `${architecture}.embedding_length`, 0),
    rows: architecture.startsWith('qwen3vl') ? numberIn(metadata, `${architecture}.n_deepstack_layers`, 0) : 0,
    axes: threeAxes.has(architecture) ? 3 : 1,
  };
}

/**
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a file that holds no language model, or one that cannot take videos;
 *   `ERR_LONGVLM_WEIGHTS` for a header that cannot be right
 */
export async function checkLanguageModel(gguf: GgufFile): Promise<void> {
  checkKind(gguf);
  await checkVocabulary(gguf);
  checkSizes(new Header(gguf));
}

function checkKind({ path, metadata }: GgufFile): void {
  const architecture = wordIn(metadata, 'general.architecture');
  const unsupported = (cause: string, remedy: string) =>
    new LongVLMError('ERR_LONGVLM_UNSUPPORTED', `${path} ${cause}. ${remedy}`);
  if (architecture === 'clip')
    throw unsupported(
      'holds a vision tower and its projector (an mmproj file), not a language model',
      "Give the language model's own .gguf file.",
    );
  const tokens = metadata.get('tokenizer.ggml.tokens');
  if (!Array.isArray(tokens) || tokens.length === 0)
    throw unsupported(
      `is a GGUF file of architecture '${architecture}' without a vocabulary, not a language model`,
      'Give a LLaMA-family model.',
    );
  const sections = metadata.get(`${architecture}.rope.dimension_sections`);
  const hasSections = Array.isArray(sections) && Number(sections[0]) > 0 && Number(sections[1]) > 0;
  if (otherAxes.has(architecture) || (hasSections && !threeAxes.has(architecture)))
    throw unsupported(
      `is a language model of architecture '${architecture}', whose way to place tokens by several positions each (M-RoPE) is not supported`,
      'Give a model of another architecture, such as llama, qwen2 or qwen3vl.',
    );
  const other = Object.hasOwn(others, architecture) ? others[architecture] : undefined;
  const isEncoder = metadata.get(`${architecture}.attention.causal`) === false;
  if (other !== undefined || isEncoder)
    throw unsupported(
      `is a model of architecture '${architecture}', which ${other ?? 'does not write from left to right'}`,
      'Give a model that writes text.',
    );
}

/** The numbers of a header, by the architecture's name. */
class Header {
  readonly path: string;
  readonly architecture: string;
  readonly tensors: GgufFile['tensors'];
  readonly #metadata: GgufFile['metadata'];

  constructor({ path, metadata, tensors }: GgufFile) {
    this.path = path;
    this.architecture = wordIn(metadata, 'general.architecture');
    this.tensors = tensors;
    this.#metadata = metadata;
  }

  wrong(key: string, expected: string): never {
    const value = this.value(key);
    const shown = Array.isArray(value) ? `a list of ${value.length}` : String(value).slice(0, 40);
    throw weightsError(
      this.path,
      value === undefined
        ? `its header has no ${this.architecture}.${key}`
        : `${this.architecture}.${key} is ${shown} where ${expected} is needed`,
    );
  }

  value(key: string): GgufValue | undefined {
    return this.#metadata.get(`${this.architecture}.${key}`);
  }

  /** An integer; `otherwise` where there is none. */
  integer(key: string, min: number, max: number, otherwise?: number): number {
    const value = this.value(key) ?? otherwise;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max)
      this.wrong(key, `an integer from ${min} to ${max}`);
    return value;
  }

  /** An integer for each layer: one for all, or a list. */
  perLayer(key: string, layers: number, otherwise?: readonly number[]): readonly number[] {
    const value = this.value(key);
    if (value === undefined && otherwise) return otherwise;
    const list = Array.isArray(value) ? value : new Array(layers).fill(value ?? 0);
    const isRight = (each: unknown) =>
      Number.isInteger(each) && (each as number) >= 0 && (each as number) <= maxInteger;
    if (list.length < layers || list.length > maxLayers || !list.every(isRight))
      this.wrong(key, `an integer, or a list of ${layers},`);
    return (list as number[]).slice(0, layers);
  }

  /** Length of the rows of a tensor. */
  rowOf(tensor: string): number | undefined {
    return this.tensors.get(tensor)?.shape.at(-1);
  }
}

function checkSizes(header: Header): void {
  const layers = header.integer('block_count', 1, maxLayers);
  header.integer('nextn_predict_layers', 0, layers, 0);
  header.integer('context_length', 1, maxInteger);
  const width = header.integer('embedding_length', 1, maxInteger);
  const rows = header.rowOf('token_embd.weight');
  if (rows !== undefined && rows !== width)
    header.wrong('embedding_length', `${rows}, the width of token_embd.weight,`);
  for (const key of [
    'attention.layer_norm_rms_epsilon',
    'attention.layer_norm_epsilon',
    'attention.group_norm_epsilon',
  ]) {
    const epsilon = header.value(key);
    if (epsilon !== undefined && !(typeof epsilon === 'number' && epsilon >= 0 && epsilon < 1))
      header.wrong(key, 'a number from 0 to 1');
  }
  for (const { name, type } of header.tensors.values())
    if (notOfWeights.has(type) && (plain.has(header.architecture) || name === 'token_embd.weight'))
      throw weightsError(header.path, `tensor ${name} is of type ${type}, which weights of language models are not`);
  // They are added or multiplied to values of float32, for which ggml has no other type on the CPU.
  for (const { name, type, shape } of header.tensors.values())
    if (type !== 'F32' && shape.length === 1 && /(_norm\.weight|\.bias)$/.test(name))
      throw weightsError(header.path, `tensor ${name} is of type ${type}, where only F32 can be computed with`);
  for (const { name, offset } of header.tensors.values())
    if (offset % tensorAlignment !== 0)
      throw weightsError(header.path, `tensor ${name} lies at byte ${offset}, no multiple of ${tensorAlignment}`);
  const scaling = header.value('rope.scaling.type');
  if (scaling !== undefined && !['none', 'linear', 'yarn', 'longrope'].includes(scaling as string))
    header.wrong('rope.scaling.type', 'none, linear, yarn or longrope');
  checkExperts(header, layers);
  checkLayers(header, layers, width);
  if (threeAxes.has(header.architecture)) checkAxes(header, layers);
  const isOfOne = !Array.isArray(header.value('attention.head_count'));
  const { architecture } = header;
  if (threeAxes.has(architecture) || (isOfOne && plain.has(architecture) && !partlyTurned.has(architecture)))
    checkWholeHeads(header, layers, width);
}

/** How heads are turned by three positions, and which layers add rows. */
function checkAxes(header: Header, layers: number): void {
  header.integer('n_deepstack_layers', 0, layers, 0);
  const sections = header.value('rope.dimension_sections');
  const width = header.integer('embedding_length', 1, maxInteger);
  const isRight = (size: unknown) => Number.isInteger(size) && (size as number) >= 0 && (size as number) <= width;
  if (!Array.isArray(sections) || sections.length !== 4 || !sections.every(isRight) || !Number(sections[0]))
    header.wrong('rope.dimension_sections', 'a list of 4 sizes');
}

/** Keys and values of one length, all of which is turned by positions. */
function checkWholeHeads(header: Header, layers: number, width: number): void {
  const usual = Math.floor(width / Math.max(...header.perLayer('attention.head_count', layers)));
  const key = header.integer('attention.key_length', 1, maxInteger, usual);
  for (const [name, length] of [
    ['attention.value_length', usual],
    ['rope.dimension_count', key],
  ] as const)
    header.integer(name, key, key, length);
}

function checkExperts(header: Header, layers: number): void {
  const experts = header.integer('expert_count', 0, maxExperts, 0);
  const most = Math.max(...header.perLayer('expert_used_count', layers));
  if (most > experts || (experts > 0 && most === 0))
    header.wrong('expert_used_count', `at least 1 of ${experts} experts`);
  const groups = header.integer('expert_group_count', 0, Math.max(0, experts - 1), 0);
  if (groups > 1) {
    if (experts % groups !== 0) header.wrong('expert_group_count', `a part of ${experts}`);
    header.integer('expert_group_used_count', 1, groups - 1);
  }
}

// Tensors of layers without attention.
const recurrent = /\.(ssm_|shortconv|time_mix|channel_mix)/;

function checkLayers(header: Header, layers: number, width: number): void {
  const names = [...header.tensors.keys()];
  const isPlain = plain.has(header.architecture);
  const heads = header.perLayer('attention.head_count', layers);
  const keyHeads = header.perLayer('attention.head_count_kv', layers, heads);
  const feed = header.perLayer('feed_forward_length', layers);
  // Where all layers are transformers', none may be without heads.
  const isAttention =
    isPlain || (!Array.isArray(header.value('attention.head_count')) && !names.some((name) => recurrent.test(name)));
  for (let layer = 0; layer < layers; layer++) {
    const [count, keys] = [heads[layer]!, keyHeads[layer]!];
    const has = (tensor: string) => header.tensors.has(`blk.${layer}.${tensor}.weight`);
    const attends = isAttention || has('attn_q') || has('attn_qkv');
    if (attends && count === 0) header.wrong('attention.head_count', 'at least 1');
    if (attends && keys === 0) header.wrong('attention.head_count_kv', 'at least 1');
    if (keys > 0 && count % keys !== 0) header.wrong('attention.head_count_kv', `a part of ${count} heads`);
    if ((has('ffn_down') || (isPlain && !has('ffn_down_exps'))) && feed[layer] === 0)
      header.wrong('feed_forward_length', 'at least 1');
    const inner = header.rowOf(`blk.${layer}.ffn_down.weight`);
    if (isPlain && inner !== undefined && inner !== feed[layer])
      header.wrong('feed_forward_length', `${inner}, the width of blk.${layer}.ffn_down.weight,`);
  }
  checkHeads(header, Math.max(...heads), width, isPlain);
}

function checkHeads(header: Header, heads: number, width: number, isPlain: boolean): void {
  if (heads === 0) return;
  const usual = Math.floor(width / heads);
  const [key, value] = ['key', 'value'].map((name) => header.integer(`attention.${name}_length`, 1, maxInteger, usual));
  if (equalHeads.has(header.architecture) && key !== value)
    header.wrong(
      header.value('attention.value_length') === undefined ? 'attention.key_length' : 'attention.value_length',
      `${header.value('attention.value_length') === undefined ? value : key}, as keys and values are of one length,`,
    );
  const rotated = header.integer('rope.dimension_count', isPlain ? 2 : 0, key!, key!);
  if (rotated % 2 !== 0 && isPlain)
    header.wrong(
      header.value('rope.dimension_count') === undefined ? 'attention.head_count' : 'rope.dimension_count',
      'an even length of heads',
    );
  const row = header.rowOf('blk.0.attn_output.weight');
  const isOne = !Array.isArray(header.value('attention.head_count'));
  if (isPlain && isOne && row !== undefined && row !== heads * value!)
    header.wrong('attention.head_count', `a number of heads whose length makes ${row}`);
}
