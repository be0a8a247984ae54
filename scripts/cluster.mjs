// A real queue server, workers and commands of longvlm as processes of this machine: for demo-cluster.mjs and crash-cluster.mjs.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { keys, startS3 } from './s3-server.mjs';

export const root = fileURLToPath(new URL('..', import.meta.url));
export const main = `${root}dist/cli/main.js`;

/** The program of a queue server. Ends the process where none is installed. */
export function serverProgram() {
  for (const name of ['valkey-server', 'redis-server'])
    try {
      execFileSync(name, ['--version'], { stdio: 'ignore' });
      return name;
    } catch {
      // Perhaps the next one.
    }
  console.error(
    'There is no valkey-server and no redis-server. Install one: apt-get install valkey-server (Debian 13, or bookworm-backports), or redis-server',
  );
  process.exit(1);
}

export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** What it is: `Valkey server v=8.1.4`. */
export function serverVersion(program) {
  return execFileSync(program, ['--version'], { encoding: 'utf8' }).replace(/ sha=.*/s, '');
}

/** Starts a server that keeps what it has in a folder, and waits until it answers. */
export async function startServer(program, port, folder) {
  const child = spawn(
    program,
    [
      '--port',
      port,
      '--bind',
      '127.0.0.1',
      '--save',
      '',
      '--appendonly',
      'yes',
      '--dir',
      folder,
      '--maxmemory-policy',
      'noeviction',
    ].map(String),
    { stdio: 'ignore' },
  );
  for (let tries = 0; tries < 200; tries++) {
    if (await answers(port)) return child;
    await setTimeout(50);
  }
  throw new Error(`${program} does not answer at port ${port}`);
}

/**
 * A store of features for workers: a folder that they share, or a bucket (`s3`) with a cache of its own for each.
 * @param place a folder that it may fill
 */
export async function featuresIn(kind, place) {
  if (kind !== 's3') {
    const count = () => readdirSync(place).filter((name) => name.endsWith('.safetensors')).length;
    return { flags: ['--features', place], envOf: () => ({}), count, close: async () => {} };
  }
  const { url, objects, close } = await startS3(['videos']);
  return {
    flags: ['--features', 's3://videos/features', '--features-endpoint', url],
    envOf: (worker) => ({ ...keys, LONGVLM_CACHE: join(place, String(worker)) }),
    count: () => objects.get('videos').size,
    close,
  };
}

async function answers(port) {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    socket.write('PING\r\n');
    const [answer] = await once(socket, 'data');
    return String(answer).startsWith('+PONG');
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Starts `longvlm`. Resolves `ended` with its code and what it wrote. */
export function start(args, env = {}, onLine = () => {}) {
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text) => {
      output += text;
      for (const line of String(text).split('\n')) if (line) onLine(line);
    });
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, output }));
  return { child, ended, output: () => output };
}

/** Starts a worker, and waits until it takes jobs. */
export async function startWorker(args, env, onLine) {
  const worker = start(['worker', ...args], env, onLine);
  while (!worker.output().includes('taking up to')) {
    if (worker.child.exitCode !== null || worker.child.signalCode !== null)
      throw new Error(`A worker ended: ${worker.output()}`);
    await setTimeout(20);
  }
  return worker;
}
