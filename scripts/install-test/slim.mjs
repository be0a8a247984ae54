// Rows for a slim image, such as debian:slim: a Debian of its essential packages alone, without ffmpeg, in a folder.
import { cpSync, existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../release/common.mjs';
import { whereIs } from './project.mjs';
import { answer, merged, mergeModule } from './question.mjs';
import { installed, row } from './rows.mjs';

// Not below the repository, whose checks would follow its links.
const system = join(tmpdir(), 'longvlm-debian-slim');

/** Made once, from Debian's packages. */
function makeSystem() {
  if (existsSync(system)) return;
  const unfinished = `${system}.new`;
  rmSync(unfinished, { recursive: true, force: true });
  mkdirSync(unfinished, { recursive: true });
  run(whereIs('debootstrap'), ['--variant=minbase', 'bookworm', unfinished]);
  mkdirSync(join(unfinished, 'usr/local/bin'), { recursive: true });
  cpSync(process.execPath, join(unfinished, 'usr/local/bin/node'));
  renameSync(unfinished, system);
}

export async function* slimRows(user) {
  if (process.getuid?.() !== 0 || whereIs('debootstrap') === undefined)
    return void (yield { name: 'Debian slim', skipped: true, note: 'needs root and debootstrap' });
  makeSystem();
  const made = await installed(user, 'slim');
  made.write('merge.mjs', mergeModule('longvlm/kernels'));
  const video = 'node_modules/longvlm/models/nano/demo.mp4';
  const cli = 'node_modules/longvlm/dist/cli/main.js';
  const encoded = await made.node([cli, 'encode', video, '-o', 'demo.safetensors', '--no-cache']);
  if (encoded.code !== 0) return void (yield row('Debian slim', encoded));
  rmSync(join(system, 'app'), { recursive: true, force: true });
  cpSync(made.folder, join(system, 'app'), { recursive: true, verbatimSymlinks: true });
  const shell = `${whereIs('mount')} --rbind /proc "$0/proc" && exec ${whereIs('chroot')} "$0" /usr/local/bin/node "$@"`;
  const inside = (...args) => made.run(whereIs('unshare'), ['--mount', whereIs('sh'), '-c', shell, system, ...args]);
  yield row('Debian slim: kernels', await inside('/app/merge.mjs'), merged);
  const question = 'What comes right after the red hearts?';
  yield row(
    'Debian slim: a question about features',
    await inside(`/app/${cli}`, 'ask', '/app/demo.safetensors', question),
    answer,
  );
  const { code, stdout, stderr } = await inside(`/app/${cli}`, 'ask', `/app/${video}`, question);
  const said = code === 1 && stdout === '' && /ffmpeg/.test(stderr) && !/\n\s+at /.test(stderr);
  yield {
    name: 'Debian slim: a video, without ffmpeg, says so',
    passed: said,
    note: said ? '' : `${code}: ${stdout}${stderr}`,
  };
}
