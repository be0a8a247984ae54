// Finds the package's files relative to its package.json, because this folder is compiled into build/.
import { fileURLToPath } from 'node:url';

const root = new URL('.', import.meta.resolve('longvlm/package.json'));

/** The path of a file of the repository. */
export const repositoryPath = (path: string): string => fileURLToPath(new URL(path, root));

export const inDist = (path: string): string => new URL(`dist/${path}`, root).href;

export const { binding } = (await import(inDist('binding.js'))) as typeof import('../dist/binding.js');
export const { dataTypes, encodeModel } = (await import(
  inDist('compute/onnxProto.js')
)) as typeof import('../dist/compute/onnxProto.js');
export const { OrtSession } = (await import(
  inDist('compute/ortSession.js')
)) as typeof import('../dist/compute/ortSession.js');
export const { toFloat32 } = (await import(inDist('base/tensor.js'))) as typeof import('../dist/base/tensor.js');
