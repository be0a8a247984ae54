// Checks of a language model's vocabulary, of up to a million tokens: what llama.cpp takes for granted in it ends the process,
// where it is not so.
import { Pace } from '../base/pace.js';
import { PartedMap } from '../base/partedMap.js';
import type { GgufFile, GgufValue } from '../files/gguf.js';
import { weightsError } from '../files/tensorFile.js';

/** The largest vocabularies have some 260,000. */
const maxTokens = 1_000_000;
const byteType = 6;
const byteTokens = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
/** Tokenizers of encoders, and none. */
const withoutText: ReadonlySet<unknown> = new Set(['bert', 'none', 'no_vocab']);

/** @throws LongVLMError `ERR_LONGVLM_WEIGHTS` for a vocabulary that cannot be right */
export async function checkVocabulary({ path, metadata, tensors }: GgufFile): Promise<void> {
  const tokens = metadata.get('tokenizer.ggml.tokens') as readonly GgufValue[];
  if (tokens.length > maxTokens)
    throw weightsError(path, `damaged: a vocabulary of ${tokens.length} tokens, more than any model has`);
  for (const name of ['scores', 'token_type']) {
    const list = metadata.get(`tokenizer.ggml.${name}`);
    if (list !== undefined && !(Array.isArray(list) && list.length >= tokens.length))
      throw weightsError(path, `tokenizer.ggml.${name} has no value for each of ${tokens.length} tokens`);
  }
  const tokenizer = metadata.get('tokenizer.ggml.model');
  if (withoutText.has(tokenizer))
    throw weightsError(path, `its tokenizer '${tokenizer}' writes no text`, 'Give a model that writes text.');
  const known = await checkTokens(path, tokens, metadata.get('tokenizer.ggml.token_type'));
  // Without them, any character that is not in the vocabulary ends the process.
  const byte = tokenizer === 'llama' ? byteTokens.find((text) => !known.has(text)) : undefined;
  if (byte !== undefined) throw weightsError(path, `its vocabulary has no token ${byte} for that byte`);
  const rows = tensors.get('token_embd.weight')?.shape[0];
  if (rows !== undefined && rows !== tokens.length)
    throw weightsError(path, `token_embd.weight has ${rows} rows, and the vocabulary ${tokens.length} tokens`);
}

/** The texts of all tokens. */
async function checkTokens(
  path: string,
  tokens: readonly GgufValue[],
  types: GgufValue | undefined,
): Promise<PartedMap<true>> {
  const known = new PartedMap<true>();
  const pace = new Pace();
  for (const [id, token] of tokens.entries()) {
    if (id % 256 === 0 && pace.isDue) await pace.rest();
    if (typeof token !== 'string') throw weightsError(path, 'tokenizer.ggml.tokens is no list of texts');
    if (Array.isArray(types) && types[id] === byteType && !/^<0x[0-9A-F]{2}>$/i.test(token))
      throw weightsError(path, `its token ${id} is of the type of bytes, and has another text`);
    // llama.cpp reads a token up to its first NUL, and gives empty ones a name.
    const end = token.indexOf('\0');
    const text = end < 0 ? token : token.slice(0, end);
    if (text === '') continue;
    if (known.has(text)) throw weightsError(path, 'tokenizer.ggml.tokens has a token twice');
    known.set(text, true);
  }
  return known;
}
