// What the steps of the check share.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { providersFor } from '../../dist/compute/ortLibrary.js';
import { findFfmpeg } from '../../dist/video/ffmpeg.js';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Thrown by a step that cannot be done on this machine. */
export class Skipped extends Error {}

/** @throws Skipped where ONNX Runtime has no provider for the GPU; by emulation there is always one */
export function needProvider({ device, emulated }) {
  try {
    providersFor(device);
  } catch (error) {
    if (emulated) throw error;
    throw new Skipped(error.message);
  }
}

/** @throws Skipped without ffmpeg */
export async function needFfmpeg() {
  await findFfmpeg().catch((error) => {
    throw new Skipped(error.message);
  });
}

/** Compiles the library that counts copies. */
export function compileCounter(path) {
  mkdirSync(dirname(path), { recursive: true });
  const flags = ['-std=c++20', '-O2', '-shared', '-fPIC', '-fvisibility=hidden', '-fno-exceptions'];
  return output(process.env.CXX ?? 'c++', [...flags, '-o', path, join(root, 'scripts/gpu-check/count_copies.cc')]);
}

/** @throws Error unless what a step found is as it must be */
export function need(condition, message) {
  if (!condition) throw new Error(message);
}

const shownCharacters = 2000;

/**
 * Runs a program to its end, or kills it after `seconds`. What it has started ends with the step at the latest.
 * @returns its exit code, signal and output, whether it was killed, and `problem`: what went wrong, in words
 */
export function program(command, args, { seconds = 600, env = {} } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr, late] = ['', '', false];
    child.stdout.on('data', (data) => (stdout += data));
    child.stderr.on('data', (data) => (stderr += data));
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, seconds * 1000);
    const end = (code, signal, error) => {
      clearTimeout(timer);
      for (const stream of [child.stdout, child.stderr]) stream.destroy();
      const how =
        error?.message ?? (late ? `did not end within ${seconds} s` : `ended with ${signal ?? `code ${code}`}`);
      const printed = `${stdout}\n${stderr}`.trim().slice(-shownCharacters);
      resolve({ code, signal, late, stdout, stderr, problem: `${[command, ...args].join(' ')} ${how}\n${printed}` });
    };
    child.once('error', (error) => end(undefined, undefined, error));
    child.once('close', (code, signal) => end(code, signal));
    // Its output may stay open in what it has started.
    child.once('exit', (code, signal) => late && end(code, signal));
  });
}

/** As {@link program}, for one that must succeed; resolves to what it wrote to stdout. */
export async function output(command, args, options) {
  const { code, stdout, problem } = await program(command, args, options);
  need(code === 0, problem);
  return stdout;
}

/** The lines of JSON in a text. */
export const jsonLines = (text) =>
  text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));

export const python = process.env.LONGVLM_PYTHON ?? 'python3';

export const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

/** The difference of two arrays relative to the largest value of the second: at most, and in the root of the mean square. */
export function difference(found, wanted) {
  let [most, largest, squares, sum] = [0, 0, 0, 0];
  for (let i = 0; i < wanted.length; i++) {
    const distance = Math.abs(found[i] - wanted[i]);
    if (!(distance <= most)) most = Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance;
    largest = Math.max(largest, Math.abs(wanted[i]));
    squares += distance ** 2;
    sum += wanted[i] ** 2;
  }
  return { most: most / largest, rootMeanSquare: Math.sqrt(squares / sum) };
}

// ONNX Runtime copies shapes and lists of pointers for some of its kernels, and operations report.
const smallBytes = 4096;

const logs = ['LONGVLM_COPIES', 'LV_EMULATED_COPIES'];

/**
 * Does `work` and counts what is copied to, from and on the device meanwhile, where that can be counted.
 * @returns `result`, and `counted`: bytes by the way that they went, of copies whose bytes are not known the number, and of those of at most
 *   4096 bytes the number and the bytes
 */
export async function countCopies({ emulated, countsCopies, folder }, work) {
  if (!emulated && !countsCopies) return { result: await work() };
  const log = join(folder, 'copies.txt');
  rmSync(log, { force: true });
  for (const name of logs) process.env[name] = log;
  try {
    const result = await work();
    const counted = { up: 0, down: 0, across: 0, host: 0, other: 0, small: 0, smallBytes: 0 };
    for (const line of existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n') : []) {
      const [way, count] = line.split(' ');
      const bytes = Number(count);
      counted[way] += way === 'other' ? 1 : bytes;
      if (bytes > smallBytes) continue;
      counted.small++;
      counted.smallBytes += bytes;
    }
    return { result, counted };
  } finally {
    for (const name of logs) delete process.env[name];
  }
}

/** Folders with the CUDA libraries that ONNX Runtime needs: the toolkit's, and those that Python packages bring. */
export function cudaFolders(sitePackages) {
  const inPackages = sitePackages.map((folder) => join(folder, 'nvidia')).filter(existsSync);
  const folders = [
    ...inPackages.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name, 'lib'))),
    ...(existsSync('/usr/local') ? readdirSync('/usr/local') : [])
      .filter((name) => name.startsWith('cuda'))
      .map((name) => join('/usr/local', name, 'lib64')),
  ];
  const known = (process.env.LD_LIBRARY_PATH ?? '').split(delimiter).filter(Boolean);
  return [...known, ...folders.filter(existsSync)];
}
