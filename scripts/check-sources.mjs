// Checks that no source file has more than 400 lines, and that src/index.ts contains only re-exports.
//
//   node scripts/check-sources.mjs [root of a repository]
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const mostLines = 400;
const folders = ['src', 'native', 'cuda/src', 'cuda/include', 'scripts', 'bench', 'fuzz', 'training'];
const isSource = /\.(ts|mts|mjs|js|cc|h|cu|cuh|py)$/;

const root = resolve(process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url)));
const wrong = [];

for (const folder of folders.filter((name) => existsSync(join(root, name)))) {
  for (const name of readdirSync(join(root, folder), { recursive: true })) {
    if (!isSource.test(name)) continue;
    const lines = readFileSync(join(root, folder, name), 'utf8')
      .trimEnd()
      .split('\n').length;
    if (lines > mostLines) wrong.push(`${folder}/${name} has ${lines} lines, above ${mostLines}. Split it by topic.`);
  }
}

const index = 'src/index.ts';
const parsed = ts.createSourceFile(index, readFileSync(join(root, index), 'utf8'), ts.ScriptTarget.Latest);
for (const statement of parsed.statements) {
  if (ts.isExportDeclaration(statement) && statement.moduleSpecifier) continue;
  const { line } = parsed.getLineAndCharacterOfPosition(statement.getStart(parsed));
  wrong.push(`${index}:${line + 1} is not a re-export. Move what it does into the file it belongs to.`);
}

for (const line of wrong) console.error(line);
process.exitCode = wrong.length > 0 ? 1 : 0;
