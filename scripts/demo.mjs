// Asks the embedded model about the video that comes with it, through the real command line.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const file = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const questions = ['What comes right after the red hearts?', 'Where is the yellow square?', 'Describe the video.'];

for (const question of questions) {
  console.error(`\nlongvlm ask models/nano/demo.mp4 "${question}"`);
  const { status } = spawnSync(
    process.execPath,
    [file('dist/cli/main.js'), 'ask', file('models/nano/demo.mp4'), question, ...process.argv.slice(2)],
    { stdio: 'inherit' },
  );
  if (status !== 0) process.exit(status ?? 1);
}
