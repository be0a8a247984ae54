import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** What helps where no process can be started. */
export const processRemedy = 'Let this program start processes, and free memory.';

/**
 * Checks that this program may start Node, by doing so. For packages that do it without listening to a failure, which would end
 * this process or leave a promise forever.
 * @throws the error of the operating system
 */
export async function checkProcesses(): Promise<void> {
  const child = spawn(process.execPath, ['--version'], { stdio: 'ignore' });
  try {
    await once(child, 'spawn');
  } finally {
    child.kill('SIGKILL');
  }
}
