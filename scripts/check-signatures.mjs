// Compares the functions that native/bind registers with those that src/binding.ts declares, and with the comment above
// each function: `// name(args: NameArgs): NativeTask`.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('..', import.meta.url);
const read = (path) => readFileSync(new URL(path, root), 'utf8');

const declared = new Map();
const [, body] = /export type NativeBinding = \{([\s\S]*?)\n\};/.exec(read('src/binding.ts'));
for (const [, name, args, result] of body.matchAll(/^ {2}(\w+)\(([^;]*?(?:\{[\s\S]*?\})?)\): ([\w[\]]+);/gm))
  declared.set(name, { args, result });

const registered = new Map();
const documented = new Map();
for (const file of readdirSync(fileURLToPath(new URL('native/bind', root)))) {
  if (!file.endsWith('.cc')) continue;
  const text = read(`native/bind/${file}`);
  for (const [, name] of text.matchAll(/exports\.Set\(\s*"(\w+)"/g)) registered.set(name, file);
  for (const [, name, args, result] of text.matchAll(/^\/\/ (\w+)\((.*?)\): ([\w[\]]+)/gm))
    documented.set(name, { args, result, file });
}

const wrong = [];
for (const name of declared.keys())
  if (!registered.has(name)) wrong.push(`${name} is declared in src/binding.ts but not registered`);
for (const [name, file] of registered) {
  if (!declared.has(name)) wrong.push(`${name} is registered in ${file} but not declared in src/binding.ts`);
  else if (!documented.has(name)) wrong.push(`${name} in ${file} has no signature above it`);
  else if (documented.get(name).result !== declared.get(name).result)
    wrong.push(
      `${name} gives ${declared.get(name).result} in src/binding.ts but ${documented.get(name).result} in ${file}`,
    );
}
for (const line of wrong) console.error(line);
process.exitCode = wrong.length > 0 ? 1 : 0;
