// Disposal by the language: what owns memory ends with its block.
import { describe, expect, test } from 'vitest';
import { LongVLM, openVideo, TokenMerger, type VideoChat, VideoEncoder } from '../../dist/index.js';
import { pico, picoOptions } from '../fixtures/index.js';
import { runNode } from '../kernels/childProcess.js';

type Disposable = { readonly disposed: boolean; [Symbol.asyncDispose](): Promise<void> };

test('what is loaded has Symbol.asyncDispose, which disposes it', async () => {
  const vlm: LongVLM & Disposable = await LongVLM.load(picoOptions);
  const chat: VideoChat & Disposable = await vlm.chat(pico.video);
  const encoder: VideoEncoder & Disposable = await VideoEncoder.create({ vision: pico.clip, lazy: true });
  for (const each of [chat, encoder, vlm]) {
    expect(each.disposed).toBe(false);
    await each[Symbol.asyncDispose]();
    expect(each.disposed).toBe(true);
  }
  const video = await openVideo(pico.video);
  await video[Symbol.asyncDispose]();
  const merger = new TokenMerger({ heads: 1, keep: 1 });
  merger[Symbol.dispose]();
  expect(merger.disposed).toBe(true);
});

const [major] = process.versions.node.split('.').map(Number);

describe.skipIf(major! < 24)('await using, where Node has it', () => {
  test('ends a chat and its model, also when the block throws', async () => {
    const index = JSON.stringify(new URL('../../dist/index.js', import.meta.url).href);
    const script = `import { LongVLM, TokenMerger } from ${index};
      let kept;
      try {
        await using vlm = await LongVLM.load(${JSON.stringify(picoOptions)});
        await using chat = await vlm.chat(${JSON.stringify(pico.video)});
        using merger = new TokenMerger({ heads: 1, keep: 1 });
        kept = [vlm, chat, merger];
        throw new Error('in the middle');
      } catch (error) {
        console.log(error.message, kept.map(({ disposed }) => disposed).join());
      }`;
    expect(await runNode(['--input-type=module', '-e', script])).toEqual({
      code: 0,
      stdout: 'in the middle true,true,true\n',
      stderr: '',
    });
  });
});
