// The cost of reading 100 frames of a long video: the number of decoded frames, and memory, which must not grow with length.
//
//   node bench/longVideo.mjs                        readSegments() alone
//   node bench/longVideo.mjs -- COMMAND ... {} ...  any command that reads the file named for {}
//
// Linux only: memory is read from /proc. The videos are generated once, in the system's temporary folder.
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findFfmpeg } from '../dist/video/ffmpeg.js';
import { readSegments } from '../dist/video/frames.js';

const SELF = fileURLToPath(import.meta.url);
const FRAME_RATE = 25;
const MINUTES = [5, 60];
const SAMPLE_MS = 10;

/** A video of `minutes`: 720p H.264 with a keyframe every 250 frames, one minute of moving content repeated. */
function film(ffmpeg, minutes) {
  const folder = join(tmpdir(), 'longvlm-bench');
  mkdirSync(folder, { recursive: true });
  const make = (name, ...args) => {
    const path = join(folder, name);
    if (existsSync(path)) return path;
    console.error(`Making ${path}`);
    execFileSync(ffmpeg, ['-nostdin', '-v', 'error', '-y', ...args, '-f', 'mp4', `${path}.part`], { stdio: 'inherit' });
    renameSync(`${path}.part`, path);
    return path;
  };
  const x264 = [
    '-c:v',
    'libx264',
    '-preset',
    'ultrafast',
    '-bf',
    '2',
    '-g',
    '250',
    '-sc_threshold',
    '0',
    '-pix_fmt',
    'yuv420p',
  ];
  const minute = make('1min.mp4', '-f', 'lavfi', '-i', `testsrc2=s=1280x720:r=${FRAME_RATE}:d=60`, ...x264);
  return make(`${minutes}min.mp4`, '-stream_loop', String(minutes - 1), '-i', minute, '-c', 'copy');
}

/** Child processes of `pid`, with their names and peak memory in bytes. */
function descendants(pid) {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
    return children.flatMap((child) => [{ pid: child, ...peakOf(child) }, ...descendants(child)]);
  } catch {
    return [];
  }
}

function peakOf(pid) {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return {
      name: /^Name:\s+(.*)/m.exec(status)[1],
      peak: Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024,
      now: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024,
    };
  } catch {
    return { name: '', peak: 0, now: 0 };
  }
}

/**
 * Runs `command` in two processes: one measures time and memory; in the other every ffmpeg reports the frames it decodes,
 * which slows it down.
 *
 * @returns Seconds, decoded frames, and peak memory in bytes: of the command's own process, of one ffmpeg, and of all
 * concurrent ffmpegs.
 */
export async function measure(ffmpeg, command) {
  const result = { seconds: 0, decoded: 0, own: 0, ffmpeg: 0, ffmpegs: 0 };
  const started = performance.now();
  await run(command, ffmpeg, (pid) => {
    const ffmpegs = descendants(pid).filter(({ name }) => name === basename(ffmpeg).slice(0, 15));
    const together = ffmpegs.reduce((sum, { now }) => sum + now, 0);
    result.own = Math.max(result.own, peakOf(pid).peak);
    result.ffmpeg = Math.max(result.ffmpeg, ...ffmpegs.map(({ peak }) => peak));
    result.ffmpegs = Math.max(result.ffmpegs, together);
  });
  result.seconds = (performance.now() - started) / 1000;

  const folder = mkdtempSync(join(tmpdir(), 'longvlm-report-'));
  try {
    const wrapper = join(folder, 'ffmpeg');
    writeFileSync(wrapper, `#!/bin/sh\nexport FFREPORT=file=${folder}/$$.log:level=40\nexec '${ffmpeg}' "$@"\n`);
    chmodSync(wrapper, 0o755);
    await run(command, wrapper);
    for (const report of readdirSync(folder).filter((name) => name.endsWith('.log')))
      for (const [, frames] of readFileSync(join(folder, report), 'utf8').matchAll(/; (\d+) frames decoded/g))
        result.decoded += Number(frames);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return result;
}

/** Runs `command` with `ffmpeg`; `sample` is called repeatedly with its process id. */
async function run(command, ffmpeg, sample = () => {}) {
  const env = { ...process.env, FFMPEG_PATH: ffmpeg };
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'inherit', 'inherit'], env });
  const sampler = setInterval(() => sample(child.pid), SAMPLE_MS);
  const code = await new Promise((fulfil, reject) => child.once('error', reject).once('exit', fulfil));
  clearInterval(sampler);
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}`);
}

async function read(path) {
  let plan;
  const options = {
    frames: 100,
    segmentFrames: 10,
    geometry: { resize: 'crop', size: 224 },
    onPlan: (p) => (plan = p),
  };
  let frames = 0;
  for await (const segment of readSegments(path, options)) frames += segment.frameIndices.length;
  console.log(`  ${frames} frames by '${plan.strategy}', ${plan.decodedFrames} to be decoded by estimate`);
}

async function main(command) {
  const { path: ffmpeg, version } = await findFfmpeg();
  console.log(`ffmpeg ${version}, Node ${process.version}: ${command.join(' ')}`);
  const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  const results = [];
  for (const minutes of MINUTES) {
    const path = film(ffmpeg, minutes);
    const total = minutes * 60 * FRAME_RATE;
    const result = await measure(
      ffmpeg,
      command.map((part) => part.replaceAll('{}', path)),
    );
    results.push(result);
    console.log(
      `${minutes} min: ${total} frames in the file, ${result.decoded} decoded (${((result.decoded / total) * 100).toFixed(1)} %), ` +
        `${result.seconds.toFixed(1)} s; peak memory: process ${megabytes(result.own)}, one ffmpeg ${megabytes(result.ffmpeg)}, ` +
        `all ffmpegs ${megabytes(result.ffmpegs)}`,
    );
  }
  const [short, long] = results;
  const checks = [
    [
      'decodes at most a fifth of the long film',
      long.decoded > 0 && long.decoded <= (MINUTES[1] * 60 * FRAME_RATE) / 5,
    ],
    // A tolerance of a fifth, for when garbage is collected; the index of the long file takes a few MiB.
    ['holds no more memory for the long film', long.own <= short.own * 1.2 && long.ffmpegs <= short.ffmpegs * 1.2],
  ];
  for (const [what, passed] of checks) console.log(`${passed ? 'yes' : 'NO '}  ${what}`);
  if (checks.some(([, passed]) => !passed)) process.exitCode = 1;
}

const [mode, ...rest] = process.argv.slice(2);
if (process.argv[1] !== SELF) {
  // This file is also imported, for measure().
} else if (mode === '--read') await read(rest[0]);
else await main(mode === '--' ? rest : [process.execPath, SELF, '--read', '{}']);
