// What is published: no package may run a script at install, or need one that does.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { platforms as inSource } from '../../../dist/base/platformPackages.js';

const { addonManifest, kernelsManifest, mainManifest, nodeLlamaCppManifest, platforms } = await import(
  new URL('../../../scripts/release/manifests.mjs', import.meta.url).href
);
const at = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const read = (path: string) => JSON.parse(readFileSync(at(path), 'utf8'));
const own = read('package.json');
const lock = read('package-lock.json').packages as Record<
  string,
  { hasInstallScript?: boolean; dependencies?: object; optionalDependencies?: object }
>;

/** What npm installs for those dependencies, and for theirs: keys of the lock. */
function installed(names: readonly string[]): Set<string> {
  const found = new Set<string>();
  const visit = (name: string, from: string) => {
    const places = from.split('/node_modules/').map((_, i, all) => all.slice(0, all.length - i).join('/node_modules/'));
    const key = [...places.map((place) => `${place}/node_modules/${name}`), `node_modules/${name}`].find(
      (place) => place in lock,
    );
    if (key === undefined || found.has(key)) return;
    found.add(key);
    const { dependencies = {}, optionalDependencies = {} } = lock[key]!;
    for (const next of Object.keys({ ...dependencies, ...optionalDependencies })) visit(next, key);
  };
  for (const name of names) visit(name, '');
  return found;
}

describe('the published packages', () => {
  const released = ['linux-x64', 'linux-x64-musl', 'darwin-arm64'];
  const main = mainManifest(own, released);

  test('run nothing at install, and need nothing that does', () => {
    expect(main).not.toHaveProperty('scripts');
    expect(main.files).not.toContain('binding.gyp');
    const upstream = read('node_modules/node-llama-cpp/package.json');
    const llama = nodeLlamaCppManifest(upstream, released, new Set(Object.keys(upstream.dependencies)));
    expect(llama).not.toHaveProperty('scripts');
    const others = Object.keys(main.dependencies).filter((name) => name !== 'node-llama-cpp');
    const all = installed([...others, ...Object.keys(llama.dependencies)]);
    expect(all.size).toBeGreaterThan(50);
    expect([...all].filter((key) => lock[key]!.hasInstallScript)).toEqual([]);
  });

  test('name the platforms that are released, and no others', () => {
    expect(main.optionalDependencies).toEqual({
      '@longvlm/linux-x64': own.version,
      '@longvlm/linux-x64-musl': own.version,
      '@longvlm/darwin-arm64': own.version,
      '@longvlm/onnxruntime-linux-x64': own.version,
      '@longvlm/onnxruntime-darwin-arm64': own.version,
    });
    expect(Object.keys(kernelsManifest(own, released).optionalDependencies)).toEqual(
      released.map((name) => `@longvlm/${name}`),
    );
  });

  test('take node-llama-cpp without what is installed on purpose', () => {
    expect(main.dependencies['node-llama-cpp']).toBe('npm:@longvlm/node-llama-cpp@3.22.1');
    const upstream = read('node_modules/node-llama-cpp/package.json');
    const { dependencies, optionalDependencies } = nodeLlamaCppManifest(
      upstream,
      ['linux-x64', 'linux-arm64', 'linux-x64-musl'],
      new Set(['chalk', 'simple-git']),
    );
    expect(Object.keys(dependencies)).toEqual(['chalk', 'simple-git']);
    expect(optionalDependencies).toEqual({
      '@node-llama-cpp/linux-x64': '3.22.1',
      // Upstream's says that it fits x64, too.
      '@node-llama-cpp/linux-arm64': 'npm:@longvlm/llama-linux-arm64@3.22.1',
    });
  });

  test('have what the README links to', () => {
    const links = [...readFileSync(at('README.md'), 'utf8').matchAll(/\]\(([^)\s#]+)[^)]*\)/g)]
      .map(([, link]) => link!)
      .filter((link) => !/^[a-z]+:/.test(link));
    expect(links.length).toBeGreaterThan(10);
    const packed: readonly string[] = ['README.md', ...main.files];
    const dead = links.filter(
      (link) => !existsSync(at(link)) || !packed.some((file) => link === file || link.startsWith(`${file}/`)),
    );
    expect(dead).toEqual([]);
  });

  test('are for the machines that they are looked for on', () => {
    expect(Object.keys(platforms)).toEqual([...inSource]);
    expect(addonManifest(own, 'linux-x64-musl')).toMatchObject({
      name: '@longvlm/linux-x64-musl',
      os: ['linux'],
      cpu: ['x64'],
      libc: ['musl'],
    });
    expect(addonManifest(own, 'darwin-x64')).not.toHaveProperty('libc');
  });
});
