// Empty projects of an imaginary user, who has Node, ffmpeg and no compiler, and can reach one registry.
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readJson } from '../release/common.mjs';
import { relay } from './relay.mjs';

const isolation = fileURLToPath(new URL('isolated.mjs', import.meta.url));

/** What the user has on the path: no compiler, no make, no Python, no git. */
const programs = [
  'node',
  'ffmpeg',
  'sh',
  'bash',
  'env',
  'uname',
  'ldd',
  'cat',
  'ls',
  'sed',
  'dirname',
  'readlink',
  'which',
];

export function whereIs(name) {
  const paths = (process.env.PATH ?? '').split(delimiter).concat('/usr/sbin', '/sbin');
  return paths.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Whether a program can be given a network of its own here. */
function canIsolate() {
  const [unshare, ip] = [whereIs('unshare'), whereIs('ip')];
  if (unshare === undefined || ip === undefined) return false;
  return spawnSync(unshare, ['--net', ip, 'link', 'set', 'lo', 'up'], { stdio: 'ignore' }).status === 0;
}

/** The user's machine: a folder for projects, a path, and the way to the registry. */
export async function machine(registry) {
  const folder = mkdtempSync(join(tmpdir(), 'longvlm-install-'));
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  for (const name of programs) {
    const path = name === 'node' ? process.execPath : whereIs(name);
    if (path !== undefined) symlinkSync(path, join(bin, name));
  }
  const socket = join(folder, 'registry.sock');
  const server = await relay([socket], [registry.port, '127.0.0.1']);
  const isolated = canIsolate();
  if (!isolated)
    console.error('No network of its own (unshare, ip): proxy variables keep programs from other hosts instead.');
  const close = () => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return { folder, bin, socket, registry, isolated, close };
}

/** Starts a program and waits for it; `code` is 124 where it took too long. */
function execute(command, args, { cwd, env, seconds }) {
  return new Promise((resolve) => {
    const started = Date.now();
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr']) child[name].on('data', (data) => (output[name] += data));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      process.kill(-child.pid, 'SIGKILL');
    }, seconds * 1000);
    child.on('error', (error) => (output.stderr += error.message));
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ code: late ? 124 : code, ...output, seconds: (Date.now() - started) / 1000 });
    });
  });
}

/** An empty project, in a folder of that name, with a home of its own: caches of package managers are empty. */
export function project(user, name, { manifest = {}, files = {}, home = name } = {}) {
  const folder = join(user.folder, 'projects', name);
  const homeFolder = join(user.folder, 'homes', home);
  for (const made of [folder, homeFolder]) mkdirSync(made, { recursive: true });
  const write = (path, text) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  write('package.json', JSON.stringify({ name: 'somebody', version: '1.0.0', private: true, ...manifest }));
  write('.npmrc', `registry=${user.registry.url}\n`);
  for (const [path, text] of Object.entries(files)) write(path, text);
  const env = {
    PATH: user.bin,
    HOME: homeFolder,
    TMPDIR: homeFolder,
    LANG: 'C.UTF-8',
    NEXT_TELEMETRY_DISABLED: '1',
    ...(!user.isolated && {
      HTTP_PROXY: 'http://127.0.0.1:9',
      HTTPS_PROXY: 'http://127.0.0.1:9',
      NO_PROXY: '127.0.0.1',
    }),
  };
  /** Runs a program in the project. */
  const run = (command, args, { more = {}, seconds = 300, as } = {}) => {
    const options = { cwd: folder, env: { ...env, ...more }, seconds };
    const changed = as === undefined ? [] : [whereIs('setpriv'), `--reuid=${as}`, `--regid=${as}`, '--clear-groups'];
    const program = [...changed, command, ...args];
    if (!user.isolated) return execute(program[0], program.slice(1), options);
    const shell = '"$0" link set lo up && exec "$@"';
    const inside = [process.execPath, isolation, user.socket, String(user.registry.port), ...program];
    return execute(whereIs('unshare'), ['--net', whereIs('sh'), '-c', shell, whereIs('ip'), ...inside], options);
  };
  const node = (args, options) => run(process.execPath, args, options);
  return { folder, home: homeFolder, write, run, node };
}

/** The packages that are installed in a folder, with their manifests, and the bytes of all files, each counted once. */
export function installedIn(folder) {
  const seen = new Set();
  const packages = [];
  let bytes = 0;
  const visit = (path) => {
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined || stat.isSymbolicLink()) return;
    if (!stat.isDirectory()) {
      if (!seen.has(stat.ino)) bytes += stat.size;
      seen.add(stat.ino);
      return;
    }
    if (/node_modules\/(@[^/]+\/)?[^/@.][^/]*$/.test(path) && existsSync(join(path, 'package.json')))
      packages.push({ path, manifest: readJson(join(path, 'package.json')) });
    for (const name of readdirSync(path)) visit(join(path, name));
  };
  visit(folder);
  return { packages, bytes };
}

/** Of installed packages, those for which a package manager would run something. */
export function withScripts(packages) {
  return packages
    .filter(({ path, manifest }) => {
      const { scripts = {}, gypfile } = manifest;
      const own = ['preinstall', 'install', 'postinstall'].some((name) => scripts[name]);
      return own || (gypfile !== false && existsSync(join(path, 'binding.gyp')));
    })
    .map(({ manifest }) => manifest.name);
}
