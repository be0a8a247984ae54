// The texts that a tokenizer takes for special tokens.
import type { GgufValue } from '../../files/gguf.js';

// llama.cpp's types of tokens: 1 is normal, 5 unused, 6 a byte.
const plainTypes: ReadonlySet<unknown> = new Set([1, 5, 6]);
// llama.cpp makes some of these special, whatever their type says.
const looksSpecial = /^[<[{|｜].+[>\]}|｜]$/su;

/** Finds special tokens that are spelt out in texts. */
export class SpecialTexts {
  readonly #texts = new Set<string>();
  readonly #starts = new Set<string>();
  readonly #lengths: readonly number[];

  constructor(metadata: ReadonlyMap<string, GgufValue>) {
    const tokens = metadata.get('tokenizer.ggml.tokens');
    const types = metadata.get('tokenizer.ggml.token_type');
    const lengths = new Set<number>();
    for (const [id, text] of Array.isArray(tokens) ? tokens.entries() : []) {
      if (typeof text !== 'string' || text.length < 2) continue;
      const isPlain = !Array.isArray(types) || plainTypes.has(types[id]);
      if (isPlain ? !looksSpecial.test(text) : text.trim() === '') continue;
      this.#texts.add(text);
      this.#starts.add(text[0]!);
      lengths.add(text.length);
    }
    this.#lengths = [...lengths];
  }

  /** The first and the last place of each special text in `text`. */
  *findIn(text: string): Generator<readonly [start: number, end: number], void, void> {
    for (let start = 0; start < text.length; start++) {
      if (!this.#starts.has(text[start]!)) continue;
      for (const length of this.#lengths)
        if (this.#texts.has(text.slice(start, start + length))) yield [start, start + length];
    }
  }
}
