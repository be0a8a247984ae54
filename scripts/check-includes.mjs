// Holds the arrows between folders of the C++ sources: bind -> core -> kernels; N-API only through bind/napi_setup.h.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const native = fileURLToPath(new URL('../native', import.meta.url));
const allowed = {
  '': ['bind'],
  bind: ['bind', 'core', 'llama'],
  core: ['core', 'kernels', 'longvlm_cuda.h'],
  kernels: ['kernels'],
  llama: ['llama', 'bind/napi_setup.h'],
};
// What of the kernels core may see: how one is chosen, and plain number formats.
const kernelDoors = ['kernels/dispatch.h', 'kernels/half.h'];

const wrong = [];
for (const entry of readdirSync(native, { recursive: true })) {
  if (!/\.(cc|h)$/.test(entry)) continue;
  const folder = entry.includes('/') ? entry.slice(0, entry.indexOf('/')) : '';
  for (const [, quote, target] of readFileSync(join(native, entry), 'utf8').matchAll(
    /^#include ([<"])([^>"]+)[>"]/gm,
  )) {
    if (quote === '<') {
      if (/^(napi|node_api)\.h$/.test(target) && entry !== 'bind/napi_setup.h')
        wrong.push(`${entry} includes <${target}>`);
      continue;
    }
    const into = target.slice(0, target.indexOf('/'));
    const fine = allowed[folder]?.some((rule) => rule === into || rule === target);
    const throughDoor = folder !== 'core' || into !== 'kernels' || kernelDoors.includes(target);
    if (!fine || !throughDoor) wrong.push(`${entry} includes "${target}"`);
  }
}
for (const line of wrong) console.error(line);
process.exitCode = wrong.length > 0 ? 1 : 0;
