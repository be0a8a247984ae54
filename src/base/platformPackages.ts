// The packages that bring binaries for one platform each. They are optional dependencies with `os`, `cpu` and `libc`, of which
// a package manager installs what fits, so that nothing is compiled or downloaded by a script at install.
import { createRequire } from 'node:module';
import { onDisk } from './onDisk.js';

/** The platforms that have a package with the addon. */
export const platforms = [
  'linux-x64',
  'linux-arm64',
  'linux-x64-musl',
  'darwin-arm64',
  'darwin-x64',
  'win32-x64',
] as const;

/**
 * The packages whose addon may fit this machine. Package managers that do not look at `libc` install both of Linux's: the
 * one for another C library is refused by the system, and the next is tried.
 */
export function addonPackages(): readonly string[] {
  const machine = `${process.platform}-${process.arch}`;
  return platforms
    .filter((name) => name === machine || (process.platform === 'linux' && name === `${machine}-musl`))
    .map((name) => `@longvlm/${name}`);
}

/** The path of a package's file, or of its package.json; undefined where the package is not installed. */
export function fileOfPackage(name: string, file = 'package.json'): string | undefined {
  // A bundle in CommonJS has no URL: then what lies beside the program counts. Never what lies in the working directory.
  const place: string | undefined = import.meta.url ?? process.argv[1];
  try {
    return onDisk(createRequire(place!).resolve(`${name}/${file}`));
  } catch {
    return undefined;
  }
}
