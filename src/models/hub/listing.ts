// The hub's list of a repository's files, which may have hundreds of thousands: read in short turns.
import * as v from 'valibot';
import { parse } from '../../base/schema.js';
import { type JsonLimits, jsonEntries, parseJson } from '../../files/jsonEntries.js';
import { isWithinRepo } from './repo.js';

const sibling = v.object({ rfilename: v.pipe(v.string(), v.check(isWithinRepo, 'name of a file in it')) });
const listing = v.object({ siblings: v.array(v.unknown()) });

const listKey = 'siblings';
const fileLimits: JsonLimits = { items: 1000, bytes: 1 << 16 };
// What a repository says of itself beside.
const otherLimits: JsonLimits = { items: 1_000_000, bytes: 4 << 20 };

/** The names of the files in a list, as JSON. @throws SyntaxError, TypeError or RangeError for anything else */
export async function readListing(bytes: Uint8Array): Promise<string[]> {
  const names: string[] = [];
  let isThere = false;
  const limitsOf = (key: string, within: string | undefined) => {
    if (within !== undefined) return fileLimits;
    isThere ||= key === listKey;
    return key === listKey ? 'items' : otherLimits;
  };
  for await (const { key, value, within } of jsonEntries(bytes, limitsOf)) {
    const name = `${listKey}[${names.length}]`;
    if (within === listKey) names.push(parse(sibling, parseJson(value), name, `${name}.`).rfilename);
    else if (key === listKey) parse(listing, { siblings: parseJson(value) }, 'the list');
  }
  if (!isThere) parse(listing, {}, 'the list');
  return names;
}
