// Checks the order of the folders of the C++ sources: an #include points into its own folder or down the list, never up.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** The folders of `native`, the uppermost first; '' is `native` itself. `cuda/include` is below all of them. */
const order = ['', 'bind', 'llama', 'ort', 'napi', 'core', 'kernels'];
const cudaHeaders = ['longvlm_cuda.h', 'longvlm_cuda_reducers.h'];

/** The headers of the kernels that other folders may include: the dispatch, and number formats. */
const kernelDoors = ['kernels/dispatch.h', 'kernels/half.h'];
/** The only file that includes Node-API, so that the macros that configure it always come first. */
const napiDoor = 'napi/napi_setup.h';

const napiHeader = /^(napi|node_api|js_native_api)(-inl)?\.h$/;

const folderOf = (path) => (path.includes('/') ? path.slice(0, path.indexOf('/')) : '');

/** The problem of an `#include` of `target` in the file `path`; undefined if it is allowed. */
function problemOf(path, target) {
  if (napiHeader.test(target)) return path === napiDoor ? undefined : `which only ${napiDoor} may`;
  if (cudaHeaders.includes(target)) return undefined;
  const from = folderOf(path);
  const into = folderOf(target);
  if (into === '' || !order.includes(into)) return 'which is in no folder of native';
  if (order.indexOf(into) < order.indexOf(from)) return `which points up: ${into}/ is above ${from}/`;
  if (into === 'kernels' && from !== into && (from !== 'core' || !kernelDoors.includes(target)))
    return `though the kernels are for core/ alone, through ${kernelDoors.join(' and ')}`;
  return undefined;
}

/** The wrong `#include`s of the C++ sources in `folder`, which is laid out as `native` is: one line each. */
export function wrongIncludes(folder) {
  const wrong = [];
  for (const entry of readdirSync(folder, { recursive: true }).sort()) {
    if (!/\.(cc|h)$/.test(entry)) continue;
    const path = entry.replaceAll('\\', '/');
    if (!order.includes(folderOf(path))) {
      wrong.push(`${path} is in a folder without a place in the order: ${order.slice(1).join(', ')}`);
      continue;
    }
    for (const [, bracket, target] of readFileSync(join(folder, entry), 'utf8').matchAll(
      /^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]/gm,
    )) {
      // Includes in angle brackets are usually headers of C++ and the system, but can also be our own.
      const system = bracket === '<' && !napiHeader.test(target) && !order.slice(1).includes(folderOf(target));
      const problem = system ? undefined : problemOf(path, target);
      if (problem !== undefined) wrong.push(`${path} includes ${target}, ${problem}`);
    }
  }
  return wrong;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const wrong = wrongIncludes(fileURLToPath(new URL('../native', import.meta.url)));
  for (const line of wrong) console.error(line);
  process.exitCode = wrong.length > 0 ? 1 : 0;
}
