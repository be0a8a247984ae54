import { isAbsolute, resolve } from 'node:path';

/** An absolute path that leads where `path` does. `..` behind a link leads elsewhere than the text says: the system resolves it. */
export function absolutePath(path: string): string {
  if (isAbsolute(path)) return path;
  if (process.platform === 'win32') return resolve(path);
  try {
    return `${process.cwd()}/${path}`;
  } catch {
    return path; // The working directory was removed: so there is no such file.
  }
}
