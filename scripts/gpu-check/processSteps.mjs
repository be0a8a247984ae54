// Whole processes: one that ends in the middle of its work, and a question about a video from file to answer.
import { join } from 'node:path';
import { LongVLM } from '../../dist/index.js';
import { difference, jsonLines, need, needFfmpeg, needProvider, output, root } from './common.mjs';

/** Processes and worker threads that end in the middle of encoding. */
export async function* exits(context) {
  needProvider(context);
  const { device, emulated } = context;
  const rounds = ['--rounds', emulated ? '5' : '20', '--jobs', emulated ? '2' : '4'];
  const [found] = jsonLines(
    await output(process.execPath, [join(root, 'scripts/exits.mjs'), ...rounds, '--device', device]),
  );
  yield found;
}

const question = 'What comes right after the red hearts?';

/** Nano, from a video file to the answer, on the device and on the CPU. */
export async function* whole(context) {
  needProvider(context);
  await needFfmpeg();
  // The kernels are slow by emulation.
  const sampling = context.emulated ? { frames: 10 } : {};
  const found = {};
  for (const device of [context.device, 'cpu']) {
    const vlm = await LongVLM.load({ device, gpu: 'off' });
    try {
      const started = performance.now();
      const features = await vlm.encode(join(root, 'models/nano/demo.mp4'), { sampling });
      const milliseconds = performance.now() - started;
      const embeddings = await vlm.project(features);
      const { text, tokenIds } = await vlm.ask(features, question, { temperature: 0, maxTokens: 30 });
      need(vlm.encoder.device.startsWith(device), `the tower runs on ${vlm.encoder.device}`);
      found[device] = { embeddings, tokenIds };
      yield { [device]: { text, ...(!context.emulated && { encodingMilliseconds: milliseconds }) } };
    } finally {
      await vlm.dispose();
    }
  }
  const here = found[context.device];
  const { most } = difference(here.embeddings.data, found.cpu.embeddings.data);
  yield { "embeddings: largest difference from the CPU's": most };
  need(here.tokenIds.length > 0 && here.tokenIds.join() === found.cpu.tokenIds.join(), "another answer than the CPU's");
}
