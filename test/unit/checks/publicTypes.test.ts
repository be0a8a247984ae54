// The types that users compile against: with skipLibCheck false, errors in a package's types would be errors of theirs.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
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

/** The calls that take a signal, as `name.method()`, and whether they take null for none. */
function callsWithSignals(entries: readonly string[]): Map<string, boolean> {
  const files = entries.map((entry) => fileURLToPath(new URL(entry, dist)));
  // Without packages and most of the language's library, which would take seconds.
  const options = { lib: ['lib.es5.d.ts'], types: [], strict: true, module: ts.ModuleKind.NodeNext };
  const host = ts.createCompilerHost(options);
  host.directoryExists = (path) => !path.includes('node_modules') && ts.sys.directoryExists(path);
  const { getSourceFile } = host;
  const global = 'interface AbortSignal { readonly aborted: boolean }';
  host.getSourceFile = (name, ...rest) =>
    name === 'global.d.ts' ? ts.createSourceFile(name, global, ts.ScriptTarget.ES2022) : getSourceFile(name, ...rest);
  const program = ts.createProgram([...files, 'global.d.ts'], options, host);
  const checker = program.getTypeChecker();
  const found = new Map<string, boolean>();
  const takesNull = (type: ts.Type) =>
    (type.isUnion() ? type.types : [type]).some(({ flags }) => flags & ts.TypeFlags.Null);
  const visitCalls = (name: string, type: ts.Type) => {
    for (const { parameters } of [...type.getCallSignatures(), ...type.getConstructSignatures()])
      for (const parameter of parameters) {
        const given = checker.getTypeOfSymbol(parameter);
        const options = given.isUnion() ? given.types : [given];
        const signals = options.flatMap((each) => checker.getPropertyOfType(each, 'signal') ?? []);
        for (const signal of parameter.name === 'signal' ? [parameter] : signals)
          found.set(name, (found.get(name) ?? true) && takesNull(checker.getTypeOfSymbol(signal)));
      }
  };
  const visitMembers = (name: string, type: ts.Type) => {
    for (const member of type.getProperties()) visitCalls(`${name}.${member.name}()`, checker.getTypeOfSymbol(member));
  };
  for (const file of files)
    for (const exported of checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)!)!)) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      const isClass = symbol.flags & ts.SymbolFlags.Class;
      // Others are what users write: they are given a signal or none.
      if (isClass || ['Video', 'Service'].includes(symbol.name))
        visitMembers(symbol.name, checker.getDeclaredTypeOfSymbol(symbol));
      if (!(symbol.flags & ts.SymbolFlags.Value)) continue;
      const type = checker.getTypeOfSymbol(symbol);
      visitCalls(`${symbol.name}()`, type);
      if (isClass) visitMembers(symbol.name, type);
    }
  return found;
}

test('every call that takes a signal takes null for none, as fetch() does', () => {
  const calls = callsWithSignals(['index.d.ts', 'kernels/index.d.ts']);
  for (const name of ['mergeTokens()', 'LongVLM.load()', 'LongVLM.ask()', 'DeviceBuffer.upload()', 'Video.probe()'])
    expect(calls.has(name), name).toBe(true);
  expect([...calls].filter(([, takesNull]) => !takesNull).map(([name]) => name)).toEqual([]);
});
