// Electron packs an app into one file, `app.asar`, whose contents JavaScript reads as if they were files. Libraries, ffmpeg and
// llama.cpp cannot; what they need is kept beside it, in `app.asar.unpacked`.
import { existsSync } from 'node:fs';

/** The path of a file or folder of a package as programs that know nothing of archives find it. */
export function onDisk(path: string): string {
  const beside = path.replace(/(\.asar)(?=[/\\])/, '$1.unpacked');
  return beside !== path && existsSync(beside) ? beside : path;
}
