// The texts that a tokenizer takes for special tokens.
import { Pace } from '../../base/pace.js';
import type { GgufValue } from '../../files/gguf.js';

// llama.cpp's types of tokens: 1 is normal, 5 unused, 6 a byte.
const plainTypes: ReadonlySet<unknown> = new Set([1, 5, 6]);
// llama.cpp makes some of these special, whatever their type says.
const looksSpecial = /^[<[{|｜].+[>\]}|｜]$/su;

const startLength = 3;
const charactersAtOnce = 1 << 16;

/** Finds special tokens that are spelt out in texts. */
export class SpecialTexts {
  readonly #texts = new Set<string>();
  /** The lengths of texts, by how these begin. */
  readonly #lengths = new Map<string, Set<number>>();

  private constructor() {}

  /** Those of a model, by its file's metadata. */
  static async of(metadata: ReadonlyMap<string, GgufValue>): Promise<SpecialTexts> {
    const special = new SpecialTexts();
    const tokens = metadata.get('tokenizer.ggml.tokens');
    const types = metadata.get('tokenizer.ggml.token_type');
    const pace = new Pace();
    let characters = 0;
    for (const [id, text] of Array.isArray(tokens) ? tokens.entries() : []) {
      if (typeof text !== 'string' || text.length < 2) continue;
      characters += text.length;
      if (characters > charactersAtOnce && pace.isDue) {
        characters = 0;
        await pace.rest();
      }
      const isPlain = !Array.isArray(types) || plainTypes.has(types[id]);
      if (isPlain ? looksSpecial.test(text) : text.trim() !== '') special.#add(text);
    }
    return special;
  }

  #add(text: string): void {
    this.#texts.add(text);
    const start = text.slice(0, startLength);
    const lengths = this.#lengths.get(start) ?? new Set();
    lengths.add(text.length);
    this.#lengths.set(start, lengths);
  }

  /** The first and the last place of each special text in `text`. */
  *findIn(text: string): Generator<readonly [start: number, end: number], void, void> {
    if (this.#texts.size === 0) return;
    for (let start = 0; start < text.length; start++)
      // A text of two characters is its own start.
      for (let end = start + 2; end <= Math.min(start + startLength, text.length); end++)
        for (const length of this.#lengths.get(text.slice(start, end)) ?? [])
          if (this.#texts.has(text.slice(start, start + length))) yield [start, start + length];
  }
}
