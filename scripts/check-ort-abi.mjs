// Checks native/ort/ort_abi.h against ONNX Runtime's own header, where that is at hand.
//
//   ONNXRUNTIME_INCLUDE=FOLDER node scripts/check-ort-abi.mjs
//
// FOLDER holds onnxruntime_c_api.h: of a release of ONNX Runtime, or of an npm package that ships it. onnxruntime-node does
// not. Without it nothing is compared, and the script says so.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(fileURLToPath(new URL('..', import.meta.url)));
const folders = [process.env.ONNXRUNTIME_INCLUDE, '/usr/include/onnxruntime', '/usr/local/include/onnxruntime'];
const folder = folders.find((each) => each && existsSync(join(each, 'onnxruntime_c_api.h')));

if (folder === undefined) {
  console.log('skipped: ONNXRUNTIME_INCLUDE does not name the folder of onnxruntime_c_api.h');
} else {
  const args = ['-std=c++20', '-fsyntax-only', '-Wno-invalid-offsetof', '-Wno-ignored-attributes'];
  const includes = [folder, join(root, 'native')].map((path) => `-I${path}`);
  const result = spawnSync(process.env.CXX ?? 'c++', [...args, ...includes, join(root, 'scripts/check-ort-abi.cc')], {
    encoding: 'utf8',
  });
  if (result.status === 0) console.log(`ort_abi.h fits ${join(folder, 'onnxruntime_c_api.h')}.`);
  else {
    process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}\n`);
    console.error('check-ort-abi: native/ort/ort_abi.h does not fit ONNX Runtime, or a compiler is missing');
    process.exitCode = 1;
  }
}
