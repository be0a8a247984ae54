// Why the addon cannot be loaded, and what helps where it was installed.
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { descriptorCause } from './descriptors.js';
import { LongVLMError } from './errors.js';

/** What was tried. */
export type AddonAttempts = {
  /** Each path and what became of it. */
  readonly attempts: readonly string[];
  /** The first error of a file that is there. */
  readonly cause: unknown;
  /** This package's folder; undefined where it is not. */
  readonly root: string | undefined;
  /** Whether `LONGVLM_ADDON` named the file. */
  readonly overridden: boolean;
};

/** The folder of this package; undefined where its code was put into another file, a bundle. */
export function packageRoot(): string | undefined {
  try {
    // A bundle of another format has no URL.
    const root = fileURLToPath(new URL('../../', import.meta.url));
    const { name } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { name?: unknown };
    return name === 'longvlm' ? root : undefined;
  } catch {
    return undefined;
  }
}

/** `ERR_LONGVLM_ADDON`, with every path that was tried. */
export function addonError({ attempts, cause, root, overridden }: AddonAttempts): LongVLMError {
  const shortage = descriptorCause(cause);
  const message = [
    `The native addon of longvlm could not be loaded on ${process.platform}-${process.arch}, Node ${process.version}.`,
    ...attempts.map((attempt) => `- ${attempt}`),
    'Possible solutions:',
    ...(shortage ? [shortage[1]] : remedies({ attempts, cause, root, overridden })).map((solution) => `- ${solution}`),
  ].join('\n');
  return new LongVLMError('ERR_LONGVLM_ADDON', message, cause === undefined ? undefined : { cause });
}

function remedies({ attempts, cause, root, overridden }: AddonAttempts): string[] {
  if (overridden) return ['Unset LONGVLM_ADDON, or let it name a longvlm.node that was built for this machine.'];
  if (root === undefined)
    return [
      'longvlm is part of a bundle: leave it out, as an external package that is installed beside it (esbuild --external:longvlm, externals of webpack, ssr.external of Vite, serverExternalPackages of Next.js).',
      'Or let LONGVLM_ADDON name the file build/Release/longvlm.node of an installed longvlm.',
    ];
  const build = buildCommand(root);
  const text = attempts.join('\n');
  if (cause === undefined)
    return hasCompiler()
      ? [`It was not built, as when install scripts are not run. Build it: ${build}.`]
      : [
          `There is no C++ compiler. Install one (Debian and Ubuntu: apt-get install build-essential cmake; Alpine: apk add build-base cmake linux-headers; macOS: xcode-select --install; Windows: the Build Tools for Visual Studio), then build it: ${build}.`,
          'Where there should be none, as in a slim image: build it in another stage with the same system and copy build/Release/longvlm.node into this folder, or let LONGVLM_ADDON name the file.',
        ];
  const solutions = [];
  if (/invalid ELF header|wrong ELF class|incompatible architecture|not a mach-o|not a valid Win32/i.test(text))
    solutions.push(
      `It was built for another machine. On this one: ${build}. In a container, do not copy node_modules from outside.`,
    );
  if (/GLIBC|GLIBCXX|CXXABI|libstdc\+\+|musl/i.test(text))
    solutions.push(`It was built against another C or C++ library. On this machine: ${build}.`);
  if (solutions.length === 0) solutions.push(`Build it again: ${build}.`);
  return solutions;
}

/** How to build the addon with the package manager that installed this package. */
function buildCommand(root: string): string {
  const [project, inside] = root.split(/[/\\]node_modules[/\\]/) as [string, string?];
  if (inside === undefined) return `run 'npm run build' in ${root}`;
  if (inside.startsWith('.pnpm') || has(project, 'pnpm-lock.yaml'))
    return "run 'pnpm approve-builds' and choose longvlm, then 'pnpm rebuild longvlm'";
  if (has(project, 'bun.lock') || has(project, 'bun.lockb')) return "run 'bun pm trust longvlm'";
  if (has(project, 'yarn.lock'))
    return `run 'npm run install' in ${root}; for the next install, allow longvlm's install script`;
  return "run 'npm rebuild longvlm'";
}

const has = (folder: string, name: string) => existsSync(join(folder, name));

/** Whether a C++ compiler is on the path. On Windows it is elsewhere, and taken to be there. */
function hasCompiler(): boolean {
  if (process.platform === 'win32') return true;
  const { CXX = '', PATH = '' } = process.env;
  if (CXX.includes('/')) return isProgram(CXX);
  const names = CXX === '' ? ['c++', 'g++', 'clang++'] : [CXX];
  return PATH.split(delimiter).some((folder) => names.some((name) => isProgram(join(folder, name))));
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
