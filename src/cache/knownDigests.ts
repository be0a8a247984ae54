// Digests that were computed before, by what they were computed from: in memory, and those that took long in a small file of
// the cache, for other processes. The file is no more than a hint: without it, or when it is damaged, all is computed anew.
import { join } from 'node:path';
import * as v from 'valibot';
import { parseJsonText } from '../base/json.js';
import { readSmallFile } from '../base/regularFile.js';
import { parse } from '../base/schema.js';
import { writeWholeFile } from '../base/wholeFile.js';
import { cacheFolder, makeCacheFolder } from './cacheFolder.js';

const folderName = 'fingerprints';
const fileName = 'longvlm-fingerprints.json';
const maxKnown = 1000;
const maxFileBytes = 1 << 20;
/** Below, to compute is faster than to read and write the file. */
const longBytes = 32 << 20;

const digest = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, 'SHA-256'));
const schema = v.object({
  version: v.literal(1),
  known: v.pipe(v.array(v.tuple([digest, digest])), v.maxLength(maxKnown)),
});

const inMemory = new Map<string, string>();

/** The digest that answers `question`, a digest itself. @param bytes how many it covers */
export async function recall(question: string, bytes: number): Promise<string | undefined> {
  const known = inMemory.get(question);
  if (known !== undefined || bytes < longBytes) return known;
  return new Map(await readKnown()).get(question);
}

/** Keeps the answer to a question. */
export async function remember(question: string, answer: string, bytes: number): Promise<void> {
  keep(inMemory, question, answer);
  if (bytes < longBytes) return;
  const known = new Map(await readKnown());
  keep(known, question, answer);
  try {
    const file = join(await makeCacheFolder(folderName), fileName);
    await writeWholeFile(file, (handle) => handle.writeFile(JSON.stringify({ version: 1, known: [...known] })));
  } catch {
    // A cache that cannot be written: it is computed again the next time.
  }
}

/** The oldest goes when there are too many. */
function keep(known: Map<string, string>, question: string, answer: string): void {
  known.delete(question);
  known.set(question, answer);
  for (const oldest of known.keys()) {
    if (known.size <= maxKnown) return;
    known.delete(oldest);
  }
}

async function readKnown(): Promise<[string, string][]> {
  try {
    const bytes = await readSmallFile(join(cacheFolder(folderName), fileName), maxFileBytes);
    return bytes === undefined ? [] : parse(schema, parseJsonText(bytes.toString()), 'the file').known;
  } catch {
    return [];
  }
}
