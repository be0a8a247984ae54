// The types that users compile against: with skipLibCheck false, errors in a package's types would be errors of theirs.
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

const dist = new URL('../../../dist/', import.meta.url);

/** The packages that declarations import, from one of ours on. */
function packagesOf(entry: string): string[] {
  const seen = new Set<string>();
  const packages = new Set<string>();
  const waiting = [new URL(entry, dist)];
  for (let file = waiting.pop(); file; file = waiting.pop()) {
    if (seen.has(file.href)) continue;
    seen.add(file.href);
    for (const [, name] of readFileSync(file, 'utf8').matchAll(/(?:from |import\()['"]([^'"]+)['"]/g)) {
      if (name!.startsWith('.')) waiting.push(new URL(name!.replace(/\.js$/, '.d.ts'), file));
      else if (!name!.startsWith('node:')) packages.add(name!);
    }
  }
  expect(seen.size).toBeGreaterThan(20);
  return [...packages];
}

test('the public types import neither node-llama-cpp nor onnxruntime-node', () => {
  expect(existsSync(new URL('index.d.ts', dist))).toBe(true);
  // The schemas of files; its types have no errors.
  expect(packagesOf('index.d.ts')).toEqual(['valibot']);
  expect(packagesOf('kernels/index.d.ts')).toEqual([]);
});
