// What ffmpeg runs in, for commands that read videos of strangers.
import { Option } from 'commander';
import { findFfmpeg } from '../video/ffmpeg.js';
import { type Sandbox, sandboxes } from '../video/limits.js';
import { inSandbox } from '../video/sandbox.js';

export function sandboxOption(): Option {
  return new Option(
    '--sandbox <kind>',
    'what ffmpeg runs in: auto sets limits, and takes bubblewrap (bwrap) where it works; bwrap insists on it',
  )
    .choices(sandboxes)
    .default('auto');
}

/** Tells what ffmpeg will run in, where that is less than it could be. */
export async function tellSandbox({ ffmpeg, sandbox }: { ffmpeg?: string; sandbox: Sandbox }): Promise<void> {
  const found = await inSandbox(await findFfmpeg(ffmpeg), sandbox);
  if (sandbox === 'auto' && !found.sandbox?.bubblewrap)
    process.stderr.write(
      'longvlm: ffmpeg has limits but no sandbox: bubblewrap (bwrap) is not installed, or does not work here\n',
    );
}
