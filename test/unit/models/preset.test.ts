import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readPreset } from '../../../dist/models/preset.js';
import { pico } from '../../fixtures/index.js';

const root = mkdtempSync(path.join(tmpdir(), 'longvlm-preset-'));
afterAll(() => rmSync(root, { recursive: true }));

const template = {
  name: 'tiny',
  system: '',
  user: 'USER',
  assistant: 'ASSISTANT',
  separator: ' ',
  videoStart: '<vid_start>',
  videoEnd: '<vid_end>',
};
const use = {
  frames: 20,
  segmentFrames: 5,
  tokensPerSegment: 6,
  globalLayers: 4,
  resize: 'squash',
  temperature: 0,
  template,
};

let made = 0;
/** A preset's folder; `description` is what preset.json holds. */
function folderWith(description: object | string, without?: string): string {
  const folder = path.join(root, String(made++));
  mkdirSync(folder);
  cpSync(pico.clip, path.join(folder, 'clip'), { recursive: true });
  cpSync(pico.projector, path.join(folder, 'projector.safetensors'));
  cpSync(pico.llm, path.join(folder, 'llm.gguf'));
  const text = typeof description === 'string' ? description : JSON.stringify(description);
  writeFileSync(path.join(folder, 'preset.json'), text);
  if (without !== undefined) rmSync(path.join(folder, without), { recursive: true });
  return folder;
}

const read = (folder: string) => readPreset('tiny', folder, 'Get it again.');

describe('readPreset()', () => {
  test('gives the options that LongVLM.load() takes', () => {
    const folder = folderWith({ ...use, mergeHeads: 2, comment: 'for people' });
    expect(read(folder)).toEqual({
      ...use,
      mergeHeads: 2,
      vision: path.join(folder, 'clip'),
      projector: path.join(folder, 'projector.safetensors'),
      llm: path.join(folder, 'llm.gguf'),
    });
  });

  test.each([
    ['no folder', () => path.join(root, 'none'), /preset\.json does not exist/],
    ['no tower', () => folderWith(use, 'clip/model.safetensors'), /model\.safetensors does not exist/],
    ['no projector', () => folderWith(use, 'projector.safetensors'), /projector\.safetensors does not exist/],
    ['no language model', () => folderWith(use, 'llm.gguf'), /llm\.gguf does not exist/],
    ['half a description', () => folderWith(JSON.stringify(use).slice(0, 40)), /JSON/],
    ['no object', () => folderWith('null'), /Expected object for .*preset\.json but received null/],
    [
      'no frames',
      () => folderWith({ ...use, frames: undefined }),
      /positive integer for frames but received undefined/,
    ],
    ['no temperature', () => folderWith({ ...use, temperature: undefined }), /for temperature but received undefined/],
    ['frames that are none', () => folderWith({ ...use, frames: 'many' }), /positive integer for frames .* 'many'/],
    ['another resize', () => folderWith({ ...use, resize: 'stretch' }), /one of crop, squash, pad for resize/],
    [
      'an incomplete template',
      () => folderWith({ ...use, template: { ...template, user: undefined } }),
      /for template\.user/,
    ],
  ])('refuses %s, and says what to do', (_, make, message) => {
    const folder = make();
    expect(() => read(folder)).toThrow(
      expect.objectContaining({
        name: 'LongVLMError',
        code: 'ERR_LONGVLM_PRESET',
        message: expect.stringMatching(message),
      }),
    );
    expect(() => read(folder)).toThrow(/^The model 'tiny' is missing, incomplete or damaged: .*\. Get it again\.$/);
  });
});
