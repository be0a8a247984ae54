// What commands write to standard output that may hold the words of a model or names of files.
import { escapedLines } from '../base/printable.js';

/** Writes a part of an answer as it is; a terminal, which obeys control characters, gets them as escapes. */
export function writeAnswer(text: string): void {
  process.stdout.write(process.stdout.isTTY ? escapedLines(text) : text);
}

/** Writes a report as JSON, in one line. */
export function writeJson(report: object): void {
  // JSON leaves these control characters as they are; as escapes they mean the same to its readers.
  const line = JSON.stringify(report).replace(
    /[\x7f-\x9f]/g,
    (character) => `\\u00${character.charCodeAt(0).toString(16)}`,
  );
  process.stdout.write(`${line}\n`);
}
