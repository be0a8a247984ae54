// Asks the video that the repository ships a question, through the real command line.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const pico = join(root, 'test/fixtures/pico');
const { config } = JSON.parse(readFileSync(join(pico, 'expected.json'), 'utf8'));
const question = 'what happens after the red circle appears?';

console.error(`
The weights of this demo ("pico") are random: they show that every part runs, and the answer is noise.
Real ffmpeg, ONNX Runtime, token merging and llama.cpp; only the learning is missing.

longvlm ask video.mp4 "${question}"
`);
const { status } = spawnSync(
  process.execPath,
  [
    join(root, 'dist/cli/main.js'),
    'ask',
    join(pico, 'video.mp4'),
    question,
    ...['--vision', join(pico, 'clip')],
    ...['--projector', join(pico, 'projector.safetensors')],
    ...['--llm', join(pico, 'llm.gguf')],
    ...['--frames', config.T, '--segment-frames', config.K, '--merge-tokens', 6, '--global-layers', config.E].map(
      String,
    ),
    ...['--max-tokens', '16', '--temperature', '0', '--device', 'cpu'],
    ...process.argv.slice(2),
  ],
  { stdio: 'inherit' },
);
process.exitCode = status ?? 1;
