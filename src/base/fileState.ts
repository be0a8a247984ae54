import { stat } from 'node:fs/promises';

/** Numbers that change with a file. */
type FileState = {
  /** Changes with the content, unless someone sets the time back. */
  readonly content: string;
  /** Changes then, too, and whenever the file is moved, linked or given other permissions. */
  readonly whole: string;
};

/** The states of files at one moment; undefined for a file that is not there. */
export type FileStates = readonly (FileState | undefined)[];

/** Notes how files are, without reading them. */
export function fileStates(paths: readonly string[]): Promise<FileStates> {
  return Promise.all(paths.map(fileState));
}

async function fileState(path: string): Promise<FileState | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  if (found === undefined) return undefined;
  const { dev, ino, size, mtimeNs, ctimeNs } = found;
  const content = `${dev}:${ino}:${size}:${mtimeNs}`;
  return { content, whole: `${content}:${ctimeNs}` };
}

/** Whether files are what they were: what was read in between is theirs. */
export function areSame(before: FileStates, after: FileStates): boolean {
  return before.every((state, index) => state !== undefined && state.whole === after[index]?.whole);
}

/** Whether a file has another content than before. One that is gone may have had the same. */
export function haveChanged(before: FileStates, after: FileStates): boolean {
  return before.some((state, index) => {
    const now = after[index];
    return state !== undefined && now !== undefined && state.content !== now.content;
  });
}
