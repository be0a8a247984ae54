// Starts and disposes chats, one after the other; prints how many bytes could have been given back to the system after the last one, and
// were not. Run with --expose-gc.
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { binding } from '../../dist/binding.js';
import { LongVLM } from '../../dist/index.js';

const pico = (name) => fileURLToPath(new URL(`../fixtures/pico/${name}`, import.meta.url));
const models = { vision: pico('clip'), projector: pico('projector.safetensors'), llm: pico('llm.gguf') };
const vlm = await LongVLM.load({ ...models, device: 'cpu', gpu: 'off', threads: 1 });
const features = await vlm.encode(pico('video.mp4'), { sampling: { frames: 10, segmentFrames: 10 } });

/** Bytes that the C library gives back when it is asked. */
async function kept() {
  const before = process.memoryUsage.rss();
  await binding().trimMemory().promise;
  return before - process.memoryUsage.rss();
}

const found = [];
for (let round = 0; round < 3; round++) {
  for (let i = 0; i < 10; i++) await (await vlm.chat(features)).dispose();
  gc();
  // For what other threads free and give back.
  await wait(200);
  found.push(await kept());
}
await vlm.dispose();
console.log(JSON.stringify({ leastKept: Math.min(...found), kept: found }));
