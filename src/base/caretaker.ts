// A shell that outlives this process by a moment. A process that is killed cannot tidy up: the shell does it then, when its
// input ends. It is no child of this process, and neither keeps it running nor gets its terminal's signals.
import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { checkDescriptors } from './descriptors.js';

const SCRIPT = `
(
  processes=' '
  while IFS= read -r line; do
    what=\${line#* }
    case $line in
      'end '*) processes="$processes$what " ;;
      'ended '*) processes="\${processes%% $what *} \${processes#* $what }" ;;
      'remove '*) set -- "$@" "$what" ;;
      'removed '*) for path do shift; [ "$path" = "$what" ] || set -- "$@" "$path"; done ;;
    esac
  done
  kill -s KILL -- $processes
  rm -rf -- "$@"
) <&3 3<&- >/dev/null 2>&1 &
`;

/** What is to be done, in the shell's words. */
const wanted = new Set<string>();
let input: Socket | undefined;

/** Ends a process, or a group of them by its number below zero, when this one is gone. @returns must be called when the process has ended: its number is given again */
export function endAfterDeath(pid: number): () => void {
  return want(`end ${pid}`, `ended ${pid}`);
}

/** To be called before a process is started: one that has begun before there is a shell may outlive this process. */
export function readyForDeath(): void {
  if (!input && process.platform !== 'win32') start();
}

/** Removes a file or folder when this process is gone. @returns takes it back */
export function removeAfterDeath(path: string): () => void {
  if (path.includes('\n')) return () => {};
  return want(`remove ${path}`, `removed ${path}`);
}

function want(line: string, over: string): () => void {
  // Windows ends children with their parent, and has no such shell.
  if (process.platform === 'win32') return () => {};
  readyForDeath();
  wanted.add(line);
  input?.write(`${line}\n`);
  return () => {
    if (wanted.delete(line)) input?.write(`${over}\n`);
  };
}

/** Without a shell, or descriptors for one, nothing is tidied up: the work itself goes on. */
function start(): void {
  try {
    checkDescriptors();
    const shell = spawn('/bin/sh', ['-c', SCRIPT], {
      // Node closes the standard input of a child that ends, as the outer shell does at once.
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
      cwd: '/',
      detached: true,
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin' },
    });
    shell.on('error', () => {});
    shell.unref();
    const socket = shell.stdio?.[3] as Socket | undefined;
    if (!socket || shell.pid === undefined) return;
    const forget = () => {
      if (input === socket) input = undefined;
    };
    socket.on('error', forget).on('close', forget);
    socket.unref();
    input = socket;
    for (const line of wanted) socket.write(`${line}\n`);
  } catch {
    // As above.
  }
}
