import { execFile } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import { checkDescriptors, descriptorCause } from '../base/descriptors.js';
import { LongVLMError, messageOf } from '../base/errors.js';
import { onDisk } from '../base/onDisk.js';
import { checkString } from '../base/validate.js';
import { isShortage, spawnError } from './spawnError.js';

/** An ffmpeg program that was run successfully. */
export type FfmpegBinary = {
  /** Path of the program. */
  readonly path: string;
  /** Version as it prints it, such as `5.1.9`. */
  readonly version: string;
  /** Output options that neither drop nor duplicate frames. Their names changed in 5.1. */
  readonly passthrough: readonly string[];
  /** Whether the filter `metadata` can write to a pipe without a delay, as since some release 4. */
  readonly printsAtOnce: boolean;
  /** What it is started in; undefined for no sandbox. */
  readonly sandbox?: { readonly bubblewrap?: string };
};

const INSTALL: Partial<Record<NodeJS.Platform, string>> = {
  linux: 'sudo apt-get install -y ffmpeg',
  darwin: 'brew install ffmpeg',
  win32: 'winget install ffmpeg',
};

const EXECUTABLE = process.platform === 'win32' ? 'ffmpeg.exe' : 'ffmpeg';
/** The first libavcodec whose ffmpeg knows `-fps_mode` (ffmpeg 5.1). */
const FPS_MODE_SINCE = 59 * 1000 + 37;
/** Major version of a libavcodec (ffmpeg 5.0) whose filter `metadata` has the option `direct`; some before have it, too. */
const DIRECT_AT_LATEST = 59;
const checked = new Map<string, Promise<FfmpegBinary>>();

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function missing(tried: readonly string[], cause?: unknown): LongVLMError {
  const install = INSTALL[process.platform] ?? 'install ffmpeg 4 or later';
  return new LongVLMError(
    'ERR_LONGVLM_FFMPEG_MISSING',
    `No usable ffmpeg was found; tried ${tried.join('; ')}. Install it with \`${install}\`, or set FFMPEG_PATH to the program.`,
    { cause },
  );
}

/** Checks a program. Successful results are cached for each path, failures are not. */
function check(path: string): Promise<FfmpegBinary> {
  const known = checked.get(path);
  if (known) return known;
  const answer = describe(path);
  checked.set(path, answer);
  answer.catch(() => checked.delete(path));
  return answer;
}

async function describe(path: string): Promise<FfmpegBinary> {
  const text = await ask(path, ['-version']);
  const version = /^ffmpeg version (\S+)/.exec(text)?.[1];
  if (!version) throw new Error('it does not answer as ffmpeg does');
  const [, major = 0, minor = 0] = /libavcodec\s+(\d+)\.\s*(\d+)/.exec(text)?.map(Number) ?? [];
  const passthrough = major * 1000 + minor >= FPS_MODE_SINCE ? ['-fps_mode', 'passthrough'] : ['-vsync', 'passthrough'];
  const isNew = major >= DIRECT_AT_LATEST;
  const printsAtOnce = isNew || /^ +direct /m.test(await ask(path, ['-hide_banner', '-h', 'filter=metadata']));
  return { path, version, passthrough, printsAtOnce };
}

function ask(path: string, args: readonly string[]): Promise<string> {
  return new Promise((fulfil, reject) => {
    checkDescriptors();
    execFile(path, args, { timeout: 30_000, killSignal: 'SIGKILL', windowsHide: true }, (error, stdout) => {
      if (error) reject(error);
      else fulfil(stdout);
    });
  });
}

/**
 * The binary of the optional package ffmpeg-static, whose install step may have failed to download it.
 * @throws LongVLMError `ERR_LONGVLM_FFMPEG` when nobody can tell, as there are no descriptors
 */
async function staticBinary(): Promise<string | null> {
  // Typed as string, so that the compiler does not resolve the package, which may be missing at build time.
  const name: string = 'ffmpeg-static';
  try {
    checkDescriptors();
    const { default: path } = (await import(name)) as { default: string | null };
    return path && onDisk(path);
  } catch (error) {
    if (descriptorCause(error)) throw spawnError(name, error);
    return null;
  }
}

/**
 * Finds ffmpeg: `option`, else the environment's `FFMPEG_PATH`, else the package ffmpeg-static, else `PATH`.
 * If a path was given explicitly and does not work, that is an error: no other ffmpeg is tried.
 *
 * @throws LongVLMError `ERR_LONGVLM_FFMPEG_MISSING`, with the paths that were tried and how to install ffmpeg.
 */
export async function findFfmpeg(option?: string): Promise<FfmpegBinary> {
  if (option !== undefined) checkString('ffmpeg', option);
  const wanted = option ?? process.env.FFMPEG_PATH;
  if (wanted) {
    const path = wanted.includes('/') || isAbsolute(wanted) ? resolve(wanted) : (onPath(wanted) ?? resolve(wanted));
    const name = option === undefined ? 'FFMPEG_PATH' : "the option 'ffmpeg'";
    return check(path).catch((error: unknown) => {
      if (isShortage(error)) throw spawnError(path, error);
      throw missing([`${name} = ${wanted} (${messageOf(error)})`], error);
    });
  }

  const tried: string[] = [];
  for (const [source, path] of [
    ['ffmpeg-static', await staticBinary()],
    ['PATH', onPath(EXECUTABLE)],
  ] as const) {
    if (!path || !isExecutable(path)) {
      tried.push(source === 'PATH' ? `PATH (no ${EXECUTABLE})` : `the package ${source} (no binary)`);
      continue;
    }
    try {
      return await check(path);
    } catch (error) {
      if (isShortage(error)) throw spawnError(path, error);
      tried.push(`${source} = ${path} (${messageOf(error)})`);
    }
  }
  throw missing(['FFMPEG_PATH (not set)', ...tried]);
}

export function onPath(name: string): string | undefined {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .filter(Boolean)
    .map((folder) => join(folder, name))
    .find(isExecutable);
}
