// Single values of a GGUF file's metadata. Where one is due there may be a list of millions, which must not become a text.
type Metadata = ReadonlyMap<string, unknown>;

const longestWord = 100;

/** A value in words. */
export function wordIn(metadata: Metadata, key: string): string {
  const value = metadata.get(key);
  return Array.isArray(value) ? `a list of ${value.length}` : String(value).slice(0, longestWord);
}

/** A number; NaN where it is something else. */
export function numberIn(metadata: Metadata, key: string, otherwise: number): number {
  const value = metadata.get(key) ?? otherwise;
  return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : Number.NaN;
}
