// What an ffmpeg that reads files of strangers is started in: limits of memory, time and output, no variables of the environment,
// and, where bubblewrap works, no network, no other process, and no file but its input and the system's libraries.
import { execFile } from 'node:child_process';
import { availableParallelism, constants } from 'node:os';
import { dirname } from 'node:path';
import { checkDescriptors } from '../base/descriptors.js';
import { LongVLMError, messageOf } from '../base/errors.js';
import { type FfmpegBinary, isExecutable, onPath } from './ffmpeg.js';
import type { Sandbox } from './limits.js';

type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

/** What a run of ffmpeg may use. */
export type Allowance = { readonly memoryBytes: number; readonly cpuSeconds: number };

/** How ffmpeg is started. */
export type Launch = {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv | undefined;
  /** Whether it is to lead a group of processes, and to be killed with all of them. */
  readonly hasGroup: boolean;
};

const SHELL = '/bin/sh';
/** Of what ffmpeg writes to a file, of which it has none to write. */
const FILE_BLOCKS = 2048;
/**
 * Limits that a shell sets before it becomes the program: kB of data, seconds of all its threads, blocks of 512 bytes of a file, no
 * image of its memory. What a system does not know is left out.
 */
const LIMITED = `
ulimit -c 0 2>/dev/null; ulimit -f ${FILE_BLOCKS} 2>/dev/null
ulimit -d "$1" 2>/dev/null; ulimit -t "$2" 2>/dev/null
shift 2
exec "$@"
`;
/** What programs need to find their libraries. */
const VARIABLES = ['PATH', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH', 'LANG', 'LC_ALL'];
/** Where libraries are, and nothing that is somebody's. */
const LIBRARIES = [
  ...['/lib', '/lib64', '/usr/lib', '/usr/lib64', '/usr/local/lib', '/nix/store'],
  ...['/etc/ld.so.cache', '/etc/ld.so.conf', '/etc/ld.so.conf.d', '/etc/alternatives'],
];

const BWRAP = process.platform === 'linux' ? 'bwrap' : undefined;
const HAS_SHELL = process.platform !== 'win32' && isExecutable(SHELL);
/** For each ffmpeg, the bubblewrap that it was run in, or why it was not. */
const tried = new Map<string, Promise<string | LongVLMError>>();

/** The same ffmpeg, to be started in a sandbox. @throws LongVLMError `ERR_LONGVLM_FFMPEG` where bubblewrap is wanted and does not work */
export async function inSandbox(binary: FfmpegBinary, sandbox: Sandbox): Promise<FfmpegBinary> {
  if (sandbox === 'none') return binary;
  const trying = tried.get(binary.path) ?? tryBubblewrap(binary);
  tried.set(binary.path, trying);
  trying.catch(() => tried.delete(binary.path));
  const found = await trying;
  if (typeof found === 'string') return { ...binary, sandbox: { bubblewrap: found } };
  if (sandbox === 'bwrap') throw found;
  return { ...binary, sandbox: {} };
}

/** How an ffmpeg is to be started with some arguments. */
export function launchOf({ path, sandbox }: FfmpegBinary, args: readonly string[], allowed: Allowance): Launch {
  if (!sandbox) return { program: path, args, env: undefined, hasGroup: false };
  const env = Object.fromEntries(VARIABLES.map((name) => [name, process.env[name]]));
  const [program, ...rest] = sandbox.bubblewrap ? bubblewrapped(sandbox.bubblewrap, path, args) : [path, ...args];
  // Its child waits for it for ever where it is killed before both are ready.
  const hasGroup = sandbox.bubblewrap !== undefined;
  if (!HAS_SHELL) return { program: program!, args: rest, env, hasGroup };
  const cpuSeconds = Math.ceil(Math.min(allowed.cpuSeconds, 1e8) * availableParallelism());
  const limits = [Math.ceil(allowed.memoryBytes / 1024), cpuSeconds].map(String);
  return { program: SHELL, args: ['-c', LIMITED, SHELL, ...limits, program!, ...rest], env, hasGroup };
}

/** How it exited: bubblewrap tells as a number what ended its program. */
export function exitOf({ sandbox }: FfmpegBinary, exit: Exit): Exit {
  const { code } = exit;
  if (!sandbox?.bubblewrap || code === null || code <= 128) return exit;
  const signal = Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
  return signal === undefined ? exit : { code: null, signal: signal as NodeJS.Signals };
}

function bubblewrapped(bubblewrap: string, path: string, args: readonly string[]): string[] {
  return [
    bubblewrap,
    // No network, no other processes, no rights; it ends with Node. As its group has a session of its own, it has no terminal.
    ...['--unshare-all', '--die-with-parent', '--cap-drop', 'ALL'],
    ...LIBRARIES.flatMap((folder) => ['--ro-bind-try', folder, folder]),
    ...[
      '--proc',
      '/proc',
      '--dev',
      '/dev',
      '--ro-bind',
      path,
      path,
      '--remount-ro',
      '/',
      '--chdir',
      dirname(path),
      '--',
    ],
    ...[path, ...args],
  ];
}

async function tryBubblewrap({ path, version }: FfmpegBinary): Promise<string | LongVLMError> {
  const bubblewrap = BWRAP && onPath(BWRAP);
  if (!bubblewrap) return unusable('bubblewrap is not installed');
  const [program, ...args] = bubblewrapped(bubblewrap, path, ['-version']);
  return new Promise((fulfil) => {
    checkDescriptors();
    execFile(program!, args, { timeout: 30_000, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      if (!error && stdout.includes(version)) return fulfil(bubblewrap);
      const said = stderr.trim().split('\n').at(-1);
      fulfil(unusable(said || (error ? messageOf(error) : 'ffmpeg does not answer in it'), error));
    });
  });
}

function unusable(why: string, cause?: unknown): LongVLMError {
  return new LongVLMError(
    'ERR_LONGVLM_FFMPEG',
    `ffmpeg cannot run in a sandbox: ${why}. Install bubblewrap (bwrap) and allow user namespaces, or use 'auto' or 'none'.`,
    { cause },
  );
}
