// Features in a real S3-compatible server: OpenStack Swift with its S3 API, which is started here, or one that runs already.
// node scripts/test-s3.mjs [--endpoint URL --bucket NAME], with the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
import { deepEqual, match, rejects } from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { AwsV4Signer } from 'aws4fetch';
import { S3Store } from '../dist/cache/s3Store.js';
import { freePort } from './cluster.mjs';

const { values } = parseArgs({ options: { endpoint: { type: 'string' }, bucket: { type: 'string' } } });
const folder = mkdtempSync(join(tmpdir(), 'longvlm-s3-'));
const servers = ['account', 'container', 'object', 'proxy'];

/** Writes the configuration of a Swift with one disk, a folder. @returns its port */
async function configureSwift() {
  const ports = Object.fromEntries(await Promise.all(servers.map(async (name) => [name, await freePort()])));
  mkdirSync(join(folder, 'disks/one'), { recursive: true });
  const write = (name, sections) =>
    writeFileSync(
      join(folder, name),
      Object.entries(sections)
        .flatMap(([title, lines]) => [
          `[${title}]`,
          ...Object.entries(lines).map(([key, value]) => `${key} = ${value}`),
          '',
        ])
        .join('\n'),
    );
  write('swift.conf', {
    'swift-hash': { swift_hash_path_suffix: 'a', swift_hash_path_prefix: 'b' },
    'storage-policy:0': { name: 'one', default: 'yes' },
  });
  for (const name of servers) {
    const common = { bind_ip: '127.0.0.1', bind_port: ports[name], workers: 0, swift_dir: folder, log_level: 'ERROR' };
    const own = { ...common, user: process.env.USER ?? 'root', devices: join(folder, 'disks'), mount_check: 'false' };
    if (name === 'proxy') {
      const filters = ['catch_errors', 'cache', 's3api', 'tempauth', 'copy', 'dlo', 'slo'];
      write('proxy.conf', {
        DEFAULT: own,
        'pipeline:main': { pipeline: `${filters.join(' ')} proxy-server` },
        'app:proxy-server': { use: 'egg:swift#proxy', account_autocreate: 'true' },
        ...Object.fromEntries(
          filters.map((each) => [`filter:${each}`, { use: `egg:swift#${each === 'cache' ? 'memcache' : each}` }]),
        ),
        'filter:cache': { use: 'egg:swift#memcache', memcache_servers: '127.0.0.1:1' },
        'filter:tempauth': { use: 'egg:swift#tempauth', user_test_tester: 'testing .admin' },
      });
      continue;
    }
    write(`${name}.conf`, {
      DEFAULT: own,
      'pipeline:main': { pipeline: `${name}-server` },
      [`app:${name}-server`]: { use: `egg:swift#${name}` },
    });
    const ring = (...args) => execFileSync('swift-ring-builder', [join(folder, `${name}.builder`), ...args]);
    ring('create', '4', '1', '1');
    ring('add', `r1z1-127.0.0.1:${ports[name]}/one`, '1');
    ring('rebalance');
  }
  return ports.proxy;
}

/** Starts Swift, and waits until it answers. */
async function startSwift(port) {
  const children = servers.map((name) =>
    spawn(`swift-${name}-server`, [join(folder, `${name}.conf`)], { stdio: 'ignore' }),
  );
  const stop = async () => {
    for (const child of children) if (child.exitCode === null) child.kill('SIGKILL');
    await Promise.all(children.map((child) => child.exitCode ?? child.signalCode ?? once(child, 'close')));
  };
  for (let tries = 0; ; tries++) {
    const answers = await fetch(`http://127.0.0.1:${port}/`).then(
      () => true,
      () => false,
    );
    if (answers) return stop;
    if (tries > 300 || children.some(({ exitCode }) => exitCode !== null)) {
      await stop();
      throw new Error('Swift does not start');
    }
    await setTimeout(200);
  }
}

async function makeBucket(url) {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = process.env;
  const keys = { accessKeyId, secretAccessKey, service: 's3', region: 'us-east-1' };
  const { headers } = await new AwsV4Signer({ method: 'PUT', url, ...keys }).sign();
  // Its parts find each other one after the other.
  for (let tries = 0; tries < 50; tries++) {
    if ((await fetch(url, { method: 'PUT', headers })).ok) return;
    await setTimeout(200);
  }
  throw new Error(`${url} cannot be made`);
}

let { endpoint, bucket } = values;
let stop;
let port;
try {
  if (endpoint === undefined) {
    try {
      execFileSync('swift-proxy-server', ['--help'], { stdio: 'ignore' });
    } catch {
      console.error(
        'There is no Swift. Install it: apt-get install swift-proxy swift-account swift-container swift-object',
      );
      process.exit(1);
    }
    port = await configureSwift();
    [endpoint, bucket] = [`http://127.0.0.1:${port}`, 'videos'];
    Object.assign(process.env, { AWS_ACCESS_KEY_ID: 'test:tester', AWS_SECRET_ACCESS_KEY: 'testing' });
    stop = await startSwift(port);
    await makeBucket(`${endpoint}/${bucket}`);
  }
  const place = `s3://${bucket}/longvlm-test-${randomBytes(6).toString('hex')}`;
  const lines = [];
  const options = { endpoint, awayMs: 100, onLog: (line) => lines.push(line) };
  const { signal } = new AbortController();
  const [given, taken] = [join(folder, 'given'), join(folder, 'taken')];
  const content = randomBytes(9_000_001);
  writeFileSync(given, content);

  const store = await S3Store.open(place, options);
  deepEqual(await store.read('a.safetensors', taken, signal), false);
  await store.write('a.safetensors', given, signal);
  const other = await S3Store.open(place, options);
  deepEqual(await other.read('a.safetensors', taken, signal), true);
  deepEqual(readFileSync(taken).equals(content), true);
  console.log('ok   what was put there comes back');

  await rejects(S3Store.open(`s3://${bucket}-that-is-not-there`, options), /There is no bucket/);
  const secret = process.env.AWS_SECRET_ACCESS_KEY;
  process.env.AWS_SECRET_ACCESS_KEY = 'wrong';
  await rejects(S3Store.open(place, options), /does not know the keys .*\(SignatureDoesNotMatch\)/);
  process.env.AWS_SECRET_ACCESS_KEY = secret;
  console.log('ok   another bucket and wrong keys are refused in a sentence');

  if (stop !== undefined) {
    await stop();
    stop = undefined;
    await store.write('b.safetensors', given, signal);
    deepEqual(await store.read('a.safetensors', taken, signal), false);
    deepEqual(lines.length, 1);
    match(lines[0], /on this machine alone\.$/);
    stop = await startSwift(port);
    while (!(await store.read('a.safetensors', taken, signal))) await setTimeout(100);
    deepEqual(lines.at(-1), `${place}/ is used again`);
    console.log('ok   a server that goes away is done without, and used again when it is back');
  }
} finally {
  await stop?.();
  rmSync(folder, { recursive: true, force: true });
}
