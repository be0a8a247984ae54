const parts = 64;
const samples = 16;

/**
 * A map for up to millions of keys. It grows a part at a time: a plain one of a million is laid out anew at once, and nothing
 * else runs for 50 ms.
 */
export class PartedMap<Value> {
  readonly #parts = Array.from({ length: parts }, () => new Map<string, Value>());

  get size(): number {
    return this.#parts.reduce((sum, part) => sum + part.size, 0);
  }

  has(key: string): boolean {
    return this.#partOf(key).has(key);
  }

  get(key: string): Value | undefined {
    return this.#partOf(key).get(key);
  }

  set(key: string, value: Value): void {
    this.#partOf(key).set(key, value);
  }

  /** By some characters from all over the key, its last one among them. */
  #partOf(key: string): Map<string, Value> {
    const step = Math.ceil(key.length / samples);
    let sum = key.length;
    for (let at = key.length - 1; at >= 0; at -= step) sum = (Math.imul(sum, 31) + key.charCodeAt(at)) | 0;
    return this.#parts[sum & (parts - 1)]!;
  }
}
