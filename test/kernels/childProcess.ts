import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export const repository = fileURLToPath(new URL('../../', import.meta.url));

export type ChildResult = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** Runs Node with `args`, in the repository unless told otherwise; a failure is a result, too. */
export async function runNode(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  cwd = repository,
): Promise<ChildResult> {
  const options = { cwd, env: { ...process.env, ...env }, maxBuffer: 1 << 28 };
  try {
    return { code: 0, ...(await execute(process.execPath, args, options)) };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string };
    return { code: typeof code === 'number' ? code : -1, stdout: stdout ?? '', stderr: stderr ?? String(error) };
  }
}
