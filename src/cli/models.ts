import { Command } from 'commander';
import { catalogue } from '../models/catalogue.js';
import { memoryLimit, runsIn } from './memory.js';
import { run } from './run.js';
import { writeJson } from './write.js';

/** `longvlm models` */
export function modelsCommand(): Command {
  return new Command('models')
    .description(
      'list the models that --model knows by name, with what they download, their licences, and * where they run in the memory of this machine',
    )
    .option('--json', 'print one JSON array')
    .action((flags: { json?: boolean }) => run(async () => list(flags)));
}

function list({ json }: { json?: boolean }): void {
  const memory = memoryLimit();
  if (json) {
    const models = catalogue.map(({ name, description, license, bytes, options }) => ({
      ...{ name, description, license, bytes, runsHere: runsIn(memory, bytes) },
      ...options,
    }));
    writeJson(models);
    return;
  }
  const width = Math.max(...catalogue.map(({ name }) => name.length));
  for (const { name, bytes, license, description } of catalogue) {
    const size = bytes === 0 ? 'in the box' : `${(bytes / 1e9).toFixed(1)} GB`;
    process.stdout.write(
      `${runsIn(memory, bytes) ? '*' : ' '} ${name.padEnd(width)}  ${size.padStart(10)}  ${license.padEnd(10)}  ${description}\n`,
    );
  }
}
