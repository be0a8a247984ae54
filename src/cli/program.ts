import { Command, CommanderError } from 'commander';
import { version } from '../base/version.js';
import { askCommand } from './ask.js';
import { batchCommand } from './batch.js';
import { cacheCommand } from './cache.js';
import { chatCommand } from './chat.js';
import { encodeCommand } from './encode.js';
import { evalCommand } from './eval.js';
import { infoCommand } from './info.js';
import { inspectCommand } from './inspect.js';
import { modelsCommand } from './models.js';
import { serveCommand } from './serve.js';
import { workerCommand } from './worker.js';

const program = new Command('longvlm')
  .description('Ask long videos questions, on your own machine.')
  .version(version, '-V, --version', 'print the version')
  .helpOption('-h, --help', 'show help')
  .addHelpText(
    'after',
    `
Examples:
  longvlm ask video.mp4 "What comes after the red circle?"
  longvlm ask talk.mp4 "What does she solder first?" --projector mmproj-model-f16.gguf --llm llava-v1.5-7b-Q4_K_M.gguf
  longvlm ask talk.mp4 "What does she solder first?" --model llava-1.5-7b
  longvlm encode talk.mp4 -o talk.safetensors --vision clip/
  longvlm chat talk.safetensors --vision clip/ --projector mm_projector.safetensors --llm vicuna.gguf
  longvlm eval questions.jsonl -o predictions.json
  longvlm batch ~/Videos --question "What is shown?" -o results.jsonl
  longvlm inspect talk.mp4 -o talk.html
  longvlm serve --folder ~/Videos

Without --model, --vision, --projector and --llm the embedded model, nano, answers.
LONGVLM_MODEL, LONGVLM_VISION, LONGVLM_PROJECTOR and LONGVLM_LLM are the defaults of these flags.`,
  );
for (const command of [
  askCommand(),
  chatCommand(),
  encodeCommand(),
  evalCommand(),
  batchCommand(),
  inspectCommand(),
  serveCommand(),
  workerCommand(),
  infoCommand(),
  modelsCommand(),
  cacheCommand(),
])
  program.addCommand(command);
// Wrong usage exits with code 2. Set on every command, because added commands do not inherit it from their parent.
const overrideExit = (command: Command): void => {
  command.exitOverride();
  for (const inner of command.commands) overrideExit(inner);
};
overrideExit(program);

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? 0 : 2;
}
