// Rows for Electron, which cannot be had from npm: an app is packed as Electron's is, and run by Node over the packed files, of
// which those that are no JavaScript cannot be read where they lie in the archive, only where they are unpacked, as in Electron.
import { cpSync, existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { tool } from '../release/registry.mjs';
import { installed, row } from './rows.mjs';

/** What docs/install.md says to keep outside of the archive. */
const unpacked = 'node_modules/{longvlm/models,@longvlm,node-llama-cpp,@node-llama-cpp}';

const ask = `import { LongVLM } from 'longvlm';

const vlm = await LongVLM.load();
const chat = await vlm.chat(process.argv[2]);
console.log(await chat.ask('What comes right after the red hearts?'));
await chat.dispose();
await vlm.dispose();
`;

/** What node-llama-cpp knows Electron by. */
const pretend = `Object.defineProperty(process.versions, 'electron', { value: '38.0.0' });\n`;

const isRead = (name) => /\.([cm]?js|json)$/.test(name);

/** The files below a folder that programs open, not JavaScript. */
function opened(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !isRead(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(folder.length + 1));
}

export async function* electronRows(user) {
  const made = await installed(user, 'electron');
  made.write('main.mjs', ask);
  made.write('pretend.mjs', pretend);
  const at = (...path) => join(made.folder, '..', 'electron-packed', ...path);
  const asarPackage = join(tool('asar', { '@electron/asar': '3.4.1' }), 'node_modules/@electron/asar/lib/asar.js');
  const { default: asar } = await import(pathToFileURL(asarPackage).href);
  await asar.createPackageWithOptions(made.folder, at('app.asar'), { unpackDir: unpacked });
  // The archive as a folder.
  asar.extractAll(at('app.asar'), at('extracted'));
  rmSync(at('app.asar'));
  renameSync(at('extracted'), at('app.asar'));
  const name = 'Electron’s asar, unpacked as told (run by Node)';
  const ours = /^node_modules\/(@?longvlm|@?node-llama-cpp)\/.*\.(node|so[.\d]*|gguf|safetensors|onnx)$/;
  const needed = opened(at('app.asar')).filter((path) => ours.test(path));
  const left = needed.filter((path) => !existsSync(at('app.asar.unpacked', path)));
  if (needed.length === 0 || left.length > 0)
    return void (yield { name, passed: false, note: `in the archive alone: ${left.join(', ')}` });
  for (const path of opened(at('app.asar'))) writeFileSync(at('app.asar', path), 'no program sees this file');
  cpSync(join(made.folder, 'node_modules/longvlm/models/nano/demo.mp4'), at('demo.mp4'));
  const program = ['--import', at('app.asar', 'pretend.mjs'), at('app.asar', 'main.mjs'), at('demo.mp4')];
  yield row(name, await made.node(program));
}
