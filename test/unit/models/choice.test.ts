import { describe, expect, test } from 'vitest';
import { chooseGguf } from '../../../dist/models/hub/choice.js';
import { parseReference } from '../../../dist/models/hub/reference.js';

const repo = 'owner/model';
const several = /^owner\/model holds several models that may be meant: .*\. Name one: hf:owner\/model\/.+\.gguf\.$/;

// Lists of files as repositories have them.
const mistral = ['README.md', 'm-7b.Q3_K.gguf', 'm-7b.Q4_K_M.gguf', 'm-7b.Q5_K_M.gguf', 'mmproj-model-f16.gguf'];
const caption = ['caption-F16.gguf', 'caption-Q6_K.gguf', 'caption-mmproj-model-f16.gguf'];
const llavas = [
  ...['yi-34b-f16-q_3_k.gguf', 'mistral-7b-q_5_k.gguf', 'vicuna-7b-q5_k.gguf'],
  ...['mmproj-vicuna7b-f16.gguf', 'mmproj-mistral7b-f16.gguf', 'mmproj-mistral7b-f16-q6_k.gguf'],
];
const dynamic = ['Big-8B-BF16.gguf', 'Big-8B-Q4_K_M.gguf', 'Big-8B-UD-Q4_K_XL.gguf', 'imatrix.gguf', 'mmproj-F32.gguf'];
const split = [
  ...['Q8_0/big-Q8_0-00002-of-00002.gguf', 'Q8_0/big-Q8_0-00001-of-00002.gguf'],
  ...['BF16/big-BF16-00001-of-00003.gguf', 'BF16/big-BF16-00002-of-00003.gguf', 'BF16/big-BF16-00003-of-00003.gguf'],
];

describe('chooseGguf()', () => {
  test.each<[string, string[], 'llm' | 'projector', string | undefined, string[]]>([
    ['the usual compromise', mistral, 'llm', undefined, ['m-7b.Q4_K_M.gguf']],
    ['the projector', mistral, 'projector', undefined, ['mmproj-model-f16.gguf']],
    ['7 GB rather than 16', caption, 'llm', undefined, ['caption-Q6_K.gguf']],
    ['what is asked for', caption, 'llm', 'f16', ['caption-F16.gguf']],
    ['what is asked for, not what a file was made from', llavas, 'llm', 'Q3_K', ['yi-34b-f16-q_3_k.gguf']],
    ['exactly what is asked for', ['m.Q4_K_M.gguf', 'm.Q4_K.gguf'], 'llm', 'Q4_K', ['m.Q4_K.gguf']],
    ['no table of importances', dynamic, 'llm', undefined, ['Big-8B-Q4_K_M.gguf']],
    ['the only file, whatever its name', ['strange.gguf'], 'llm', undefined, ['strange.gguf']],
    ['a part of an unusual name', ['a-small.gguf', 'a-large.gguf'], 'llm', 'small', ['a-small.gguf']],
    ['all parts in order', split, 'llm', undefined, [split[1]!, split[0]!]],
    ['all parts of what is asked for', split, 'llm', 'bf16', split.slice(2)],
  ])('takes %s', (_, files, role, quantization, expected) => {
    expect(chooseGguf(files, role, repo, quantization)).toEqual(expected);
  });

  test.each<[string, string[], 'llm' | 'projector', string | undefined]>([
    ['several language models', llavas, 'llm', undefined],
    ['several in the quantisation that is asked for', llavas, 'llm', 'Q5_K'],
    ['several projectors', llavas, 'projector', undefined],
    ['several of an unknown kind', ['a-small.gguf', 'a-large.gguf'], 'llm', undefined],
    ['only few bits', ['m.IQ2_XS.gguf', 'm.IQ3_M.gguf'], 'llm', undefined],
    ['two of equal quality', ['a/m-Q4_K_M.gguf', 'b/m-Q4_K_M.gguf'], 'llm', undefined],
  ])('asks back where there are %s', (_, files, role, quantization) => {
    expect(() => chooseGguf(files, role, repo, quantization)).toThrow(
      expect.objectContaining({ code: 'ERR_LONGVLM_HUB', message: expect.stringMatching(several) }),
    );
  });

  test('finds nothing rather than another quantisation', () => {
    expect(chooseGguf(mistral, 'llm', repo, 'Q6_K')).toBeUndefined();
    expect(chooseGguf(['README.md'], 'llm', repo, undefined)).toBeUndefined();
  });
});

describe('parseReference()', () => {
  test('takes a reference of git for a revision', () => {
    expect(parseReference('hf:o/r@refs/pr/1')).toEqual({ repo: { name: 'o/r', revision: 'refs/pr/1' } });
    expect(parseReference('hf:o/r@refs/pr/1/a/b.gguf')).toMatchObject({ file: 'a/b.gguf' });
  });

  test.each([
    'hf:o/r@..',
    'hf:../r',
    'hf:o/.',
    'hf:o/r/../x.gguf',
    'hf:o/r@refs/../x',
    'hf:o/r/a\u0000.gguf',
    'hf:o/r/c:x',
  ])('refuses %j', (text) => expect(() => parseReference(text)).toThrow(/^Expected hf:owner\/repo/));
});
