import { describe, expect, test } from 'vitest';
import type { GgufFile, GgufValue } from '../../../dist/files/gguf.js';
import { SpecialTexts } from '../../../dist/llm/jinja/specialTexts.js';
import { checkVocabulary } from '../../../dist/llm/vocabulary.js';
import { turnsDuring } from '../../fixtures/turns.js';

const file = (tokens: readonly GgufValue[], more: Record<string, GgufValue> = {}): GgufFile => ({
  format: 'gguf',
  path: 'model.gguf',
  tensors: new Map(),
  metadata: new Map<string, GgufValue>([['tokenizer.ggml.tokens', tokens], ...Object.entries(more)]),
});
const many = Array.from({ length: 300_000 }, (_, i) => `token${i}`);

describe('checkVocabulary()', () => {
  test('lets the event loop turn', async () => {
    expect(await turnsDuring(() => checkVocabulary(file(many)))).toBeGreaterThan(1);
  });

  test('takes empty tokens, and tells tokens apart up to their first NUL', async () => {
    await checkVocabulary(file(['', '', '\0a', '\0b', 'a']));
    await expect(checkVocabulary(file(['a', 'b', 'a\0c']))).rejects.toThrow(/has a token twice/);
    await expect(checkVocabulary(file([...many, 'token0']))).rejects.toThrow(/has a token twice/);
  });

  test('refuses more tokens than any model has', async () => {
    await expect(checkVocabulary(file(new Array(1_000_001).fill('')))).rejects.toThrow(/1000001 tokens, more than any/);
  });
});

describe('SpecialTexts', () => {
  test('finds each special text at each place, also one within another', async () => {
    const tokens = ['<s>', '<s><s>', '[]', '[x]', '<>', 'plain', '<|end|>', 'named'];
    const types = [3, 3, 1, 1, 4, 1, 1, 3];
    const special = await SpecialTexts.of(
      new Map<string, GgufValue>([
        ['tokenizer.ggml.tokens', tokens],
        ['tokenizer.ggml.token_type', types],
      ]),
    );
    const found = (text: string) => [...special.findIn(text)].map(([from, to]) => text.slice(from, to)).sort();
    expect(found('a<s><s>[x][]plain<>')).toEqual(['<>', '<s>', '<s>', '<s><s>', '[x]']);
    expect(found('<|end|>named<|end|')).toEqual(['<|end|>', 'named']);
    expect(found('<')).toEqual([]);
  });
});
