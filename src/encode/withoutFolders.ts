// What is kept of a video may be shared: it holds the names of files, and nothing of the folders that they were in.
import { basename, dirname, resolve, sep } from 'node:path';
import { printable } from '../base/printable.js';

/** `text` with the names of files in place of their paths. */
export function withoutFolders(text: string, paths: readonly string[]): string {
  let short = text;
  for (const path of paths) {
    const [name, whole] = [basename(path), resolve(path)];
    for (const found of [whole, printable(whole), path, printable(path)])
      if (found !== name) short = short.replaceAll(found, name);
    const folder = dirname(whole);
    if (folder !== dirname(folder)) short = short.replaceAll(folder + sep, '');
  }
  return short;
}

/** `text` about the file `before`, which is now called `after`. In files of older releases, its whole path is in the text. */
export function renamedIn(text: string, before: string, after: string): string {
  const escaped = before.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  return text.replace(new RegExp(`'(?:[^']*[/\\\\])?${escaped}'`, 'g'), () => `'${after}'`);
}
