// Asks the embedded model questions about its demo video, through the command line.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const file = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const questions = ['What comes right after the red hearts?', 'Where is the yellow square?', 'Describe the video.'];

console.error('\nlongvlm chat models/nano/demo.mp4');
const command = [file('dist/cli/main.js'), 'chat', file('models/nano/demo.mp4'), ...process.argv.slice(2)];
const child = spawn(process.execPath, command, { stdio: ['pipe', 'pipe', 'inherit'] });
// If the command fails, it prints the error and exits, and then writing to it fails.
child.stdin.on('error', () => {});
const ended = once(child, 'close');
const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
for (const question of questions) {
  child.stdin.write(`${question}\n`);
  const { value: answer, done } = await answers.next();
  if (done) break;
  console.error(`> ${question}`);
  console.log(answer);
}
child.stdin.end();
const [code] = await ended;
process.exitCode = code ?? 1;
