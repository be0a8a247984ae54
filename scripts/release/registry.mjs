// A registry on loopback: has what is released, and passes everything else on to npm's.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { out, ReleaseError, readJson, run } from './common.mjs';

const folder = join(out, 'registry');

/** Programs that the release uses, from npm, in a folder of their own: packages of development would be everyone's. */
export function tool(name, packages, { overrides = {}, flags = [] } = {}) {
  const place = join(out, 'tools', name);
  const wanted = { private: true, dependencies: packages, overrides };
  const manifest = join(place, 'package.json');
  const done = join(place, 'installed.json');
  if (existsSync(done) && JSON.stringify(readJson(done)) === JSON.stringify(wanted)) return place;
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  writeFileSync(manifest, JSON.stringify(wanted));
  run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', ...flags], { cwd: place });
  writeFileSync(done, JSON.stringify(wanted));
  return place;
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const open = { access: '$all', publish: '$all', unpublish: '$all' };

/** Starts it, without packages of an earlier release. `log` is a file with a line for each request. */
export async function startRegistry() {
  const tools = tool('verdaccio', { verdaccio: '6.8.0' }, { overrides: { 'node-fetch': '2.7.0' } });
  mkdirSync(folder, { recursive: true });
  for (const name of ['storage/@longvlm', 'storage/longvlm', 'log.txt'])
    rmSync(join(folder, name), { recursive: true, force: true });
  const uplink = run('npm', ['config', 'get', 'registry']).trim();
  const log = join(folder, 'log.txt');
  writeFileSync(
    join(folder, 'config.yaml'),
    // JSON is YAML.
    JSON.stringify({
      storage: join(folder, 'storage'),
      web: { enable: false },
      uplinks: { npm: { url: uplink, maxage: '1d', timeout: '60s', cache: true } },
      packages: { longvlm: open, '@longvlm/*': open, '**': { access: '$all', proxy: 'npm' } },
      max_body_size: '1gb',
      log: { type: 'file', path: log, format: 'pretty', colors: false, level: 'http' },
    }),
  );
  const port = await freePort();
  const args = ['--config', join(folder, 'config.yaml'), '--listen', `127.0.0.1:${port}`];
  const output = openSync(join(folder, 'output.txt'), 'w');
  const child = spawn(process.execPath, [join(tools, 'node_modules/verdaccio/bin/verdaccio'), ...args], {
    stdio: ['ignore', output, output],
    cwd: folder,
  });
  let ended = false;
  const end = new Promise((resolve) => child.once('close', resolve)).then(() => {
    ended = true;
  });
  const url = `http://127.0.0.1:${port}/`;
  for (let tries = 0; ; tries++) {
    if (ended || tries > 300) throw new ReleaseError(`The registry did not start; see ${join(folder, 'output.txt')}.`);
    const answer = await fetch(`${url}-/ping`).catch(() => undefined);
    if (answer?.ok) break;
    await sleep(200);
  }
  const close = async () => {
    child.kill();
    await end;
  };
  return { url, port, log, close };
}

/** Publishes packed packages. */
export function publish(registry, archives) {
  const config = join(folder, 'npmrc');
  // Anyone may publish there, but npm wants a name.
  writeFileSync(config, `registry=${registry.url}\n//127.0.0.1:${registry.port}/:_authToken=anyone\n`);
  for (const archive of archives)
    run('npm', ['publish', archive, '--userconfig', config, '--provenance=false', '--tag', 'latest'], { cwd: folder });
}
