// Checks that no source file has more than 400 lines, that src/index.ts contains only re-exports, and that no value is asked
// whether it is an `instanceof` a built-in class: it may be of another realm, as under Jest, and as good.
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

const parse = (file) => ts.createSourceFile(file, readFileSync(join(root, file), 'utf8'), ts.ScriptTarget.Latest);

/** The line of a node. */
const lineOf = (file, node) => file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1;

/** Calls `visit` for a node and all below it. */
function walk(node, visit) {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}

for (const name of readdirSync(join(root, 'src'), { recursive: true }).filter((name) => name.endsWith('.ts'))) {
  const file = parse(`src/${name}`);
  const known = new Set();
  walk(file, (node) => {
    const isName = node.name && ts.isIdentifier(node.name) && !ts.isPropertyAccessExpression(node);
    if (isName) known.add(node.name.text);
  });
  walk(file, (node) => {
    if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.InstanceOfKeyword) return;
    if (!ts.isIdentifier(node.right) || known.has(node.right.text)) return;
    wrong.push(
      `src/${name}:${lineOf(file, node)} asks for instanceof ${node.right.text}, which other realms have, too. Use types of node:util, or isErrorOf().`,
    );
  });
}

const index = 'src/index.ts';
const parsed = parse(index);
for (const statement of parsed.statements) {
  if (ts.isExportDeclaration(statement) && statement.moduleSpecifier) continue;
  wrong.push(
    `${index}:${lineOf(parsed, statement)} is not a re-export. Move what it does into the file it belongs to.`,
  );
}

for (const line of wrong) console.error(line);
process.exitCode = wrong.length > 0 ? 1 : 0;
