// Why the addon cannot be loaded, and what helps where it was installed.
import { accessSync, constants, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { descriptorCause } from './descriptors.js';
import { LongVLMError } from './errors.js';
import { addonPackages } from './platformPackages.js';

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

/** The folder of this package, or of the one with its kernels alone; undefined where the code was put into another file, a bundle. */
export function packageRoot(): string | undefined {
  try {
    // A bundle of another format has no URL.
    const root = fileURLToPath(new URL('../../', import.meta.url));
    const { name } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { name?: unknown };
    return name === 'longvlm' || name === '@longvlm/kernels' ? root : undefined;
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
  const named = 'Or let LONGVLM_ADDON name a longvlm.node that was built elsewhere, for such a machine.';
  if (root === undefined)
    return [
      `longvlm is part of a bundle: leave it out, as an external package that is installed beside it (esbuild --external:longvlm, externals of webpack, ssr.external of Vite, serverExternalPackages of Next.js)${packageBeside()}.`,
      named,
    ];
  const build = buildCommand(root);
  if (!isInstalled(root)) return [`In this checkout, ${build}.`];
  if (cause === undefined) return [installAgain(), `Or build it: ${compilerIfNone()}${build}.`, named];
  const text = attempts.join('\n');
  if (/GLIBC|GLIBCXX|CXXABI|libstdc\+\+|musl|Error relocating/i.test(text))
    return [
      `It was built against another C or C++ library than this machine's. Build it here: ${compilerIfNone()}${build}.`,
      named,
    ];
  if (/invalid ELF header|wrong ELF class|incompatible architecture|not a mach-o|not a valid Win32/i.test(text))
    return [
      `It was built for another machine: in a container, do not copy node_modules from outside. ${installAgain()}`,
      named,
    ];
  return [installAgain(), `Or build it: ${compilerIfNone()}${build}.`, named];
}

const installAgain = () => {
  const [name] = addonPackages();
  return name === undefined
    ? 'There is no package with a binary for this platform.'
    : `Install longvlm again on this machine, with its optional dependencies (without --omit=optional): ${name} has the binary.`;
};

const packageBeside = () => {
  const [name] = addonPackages();
  return name === undefined ? '' : `, or install ${name} beside the bundle`;
};

const isInstalled = (root: string) => /[/\\]node_modules[/\\]/.test(root);

/** How to build the addon: published packages run no script at install, and bring the sources. */
function buildCommand(root: string): string {
  if (!isInstalled(root)) return `run 'npm run build' in ${root}`;
  return `install cmake-js and node-addon-api, then run 'node ${join(root, 'scripts/build-addon.mjs')}'`;
}

function compilerIfNone(): string {
  return hasCompiler()
    ? ''
    : 'install a C++20 compiler (Debian and Ubuntu: apt-get install build-essential cmake; Alpine: apk add build-base cmake linux-headers; macOS: xcode-select --install; Windows: the Build Tools for Visual Studio), ';
}

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
