// Loads a real `longvlm serve` with nano: twice what it can do for a while by many clients, then clients that go away at random
// moments. Shown are answers against the library's own, refusals, memory, latency, and what is left.
//
//   node scripts/load-service.mjs [--seconds 120] [--clients 64] [--gone 200] [--rate 2] [--seed 1] [--videos 16]
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Agent, fetch, setGlobalDispatcher } from 'undici';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '120' },
    clients: { type: 'string', default: '64' },
    gone: { type: 'string', default: '200' },
    rate: { type: 'string', default: '2' },
    seed: { type: 'string', default: '1' },
    videos: { type: 'string', default: '16' },
  },
});
const [seconds, clients, gone, times] = [values.seconds, values.clients, values.gone, values.rate].map(Number);
// Each request has a connection of its own, so that ending it ends that.
setGlobalDispatcher(new Agent({ pipelining: 0, headersTimeout: 0, bodyTimeout: 0 }));

const world = fileURLToPath(new URL('../test/fixtures/world/', import.meta.url));
const root = mkdtempSync(join(tmpdir(), 'longvlm-load-'));
const temporary = join(root, 'temporary');
const random = randomOf(Number(values.seed));
const problems = [];
/** Programs of the machine that are none of the service's. */
let others = 0;
const say = (line) => process.stdout.write(`${line}\n`);
const check = (isSo, problem) => {
  if (!isSo) problems.push(problem);
};

const videos = readdirSync(world)
  .filter((name) => /^world-.*\.(mp4|mkv|webm|avi)$/.test(name))
  .slice(0, Number(values.videos));
const questions = readFileSync(join(world, 'questions.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))
  .filter(({ video }) => videos.includes(video));
const keys = Array.from({ length: clients }, (_, client) => `key-of-client-${client}`);

mkdirSync(temporary);
writeFileSync(join(root, 'keys'), keys.join('\n'));
const server = spawn(
  process.execPath,
  [
    fileURLToPath(new URL('../dist/cli/main.js', import.meta.url)),
    ...['serve', '--port', '0', '--gpu', 'off', '--no-log', '--folder', world, '--context-memory', '32'],
    ...['--waiting', '32', '--api-key-file', join(root, 'keys')],
  ],
  {
    env: { ...process.env, LONGVLM_CACHE: join(root, 'cache'), TMPDIR: temporary },
    stdio: ['ignore', 'inherit', 'pipe'],
  },
);
const ended = new Promise((resolve) => server.once('exit', (code, signal) => resolve(code ?? signal)));
try {
  const url = await listening();
  const memory = sample(server.pid);
  others = stateOf(server.pid).ffmpeg;
  const rate = await capacity(url);
  const idle = await settle(url);
  const { asked, counts, latencies } = await overload(url, rate);
  await settle(url);
  const growth = slope(memory.stop());
  report({ rate, counts, latencies, growth });
  await checkAnswers(asked);
  const before = await settle(url);
  await leave(url);
  const after = await settle(url, before.descriptors);
  say(
    `after clients went away: ${JSON.stringify(after)}, before: ${JSON.stringify(before)}, idle at first: ${JSON.stringify(idle)}`,
  );
  check(after.ffmpeg <= others, `${after.ffmpeg - others} processes are left`);
  check(after.files.length === 0, `files are left: ${after.files.join(', ')}`);
  check(after.threads <= before.threads + 1, `threads: ${before.threads} became ${after.threads}`);
  check(after.descriptors <= before.descriptors + 4, `descriptors: ${before.descriptors} became ${after.descriptors}`);
  check((await ask(url, keys[0], bodyOf(0, 0))).status === 200, 'nobody is answered afterwards');
} catch (error) {
  problems.push(error.stack);
} finally {
  server.kill('SIGTERM');
  const code = await Promise.race([ended, sleep(30_000, 'no end')]);
  check(code === 0, `the service ended with ${code}`);
  server.kill('SIGKILL');
  check(readdirSync(temporary).length === 0, `temporary files are left: ${readdirSync(temporary)}`);
  rmSync(root, { recursive: true, force: true });
}
for (const problem of problems) say(`problem: ${problem}`);
say(problems.length === 0 ? 'all well' : `${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;

async function listening() {
  for await (const line of createInterface({ input: server.stderr })) {
    const found = /listening at (\S+)/.exec(line)?.[1];
    if (found) {
      server.stderr.resume();
      return found;
    }
    say(line);
  }
  throw new Error('The service did not start.');
}

/** A request: of some, the beginning of the video differs, so that their features are not there yet. */
function bodyOf(index, offset) {
  const { video, question } = questions[index % questions.length];
  return {
    model: 'nano',
    max_tokens: 64,
    messages: [
      {
        role: 'user',
        content: [
          { type: 'video_url', video_url: { url: pathToFileURL(join(world, video)).href } },
          { type: 'text', text: question },
        ],
      },
    ],
    ...(offset > 0 && { longvlm: { start: offset } }),
  };
}

async function ask(url, key, body, signal) {
  const started = performance.now();
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify(body),
    signal: signal ?? null,
  });
  const text = await response.text();
  const { status } = response;
  return { status, text, retryAfter: response.headers.get('retry-after'), ms: performance.now() - started };
}

/** Answers a second that it gives at its best, of the requests that it is then loaded with. */
async function capacity(url) {
  // All features are made first, so that it is answering that is measured, and the memory of it is taken.
  for (const index of videos.keys()) {
    const at = questions.findIndex(({ video }) => video === videos[index]);
    await ask(url, keys[0], bodyOf(at, 0));
  }
  const until = performance.now() + 15_000;
  let answered = 0;
  await Promise.all(
    Array.from({ length: 8 }, async (_, client) => {
      while (performance.now() < until) {
        const { status } = await ask(url, keys[client], randomBody());
        if (status === 200) answered++;
      }
    }),
  );
  const rate = answered / 15;
  say(`it answers ${rate.toFixed(1)} requests a second, on ${availableParallelism()} processors`);
  return rate;
}

function randomBody() {
  // One in ten is about a part of a video that nobody asked about before.
  return bodyOf(Math.floor(random() * questions.length), random() < 0.1 ? Math.ceil(random() * 600) / 100 : 0);
}

/** Requests come at a multiple of the rate, as those of many who do not know of each other. */
async function overload(url, rate) {
  const asked = [];
  const counts = {};
  const latencies = [];
  const open = new Set();
  const until = performance.now() + seconds * 1000;
  for (let client = 0; performance.now() < until; client = (client + 1) % clients) {
    const body = randomBody();
    const request = ask(url, keys[client], body).then(
      ({ status, text, retryAfter, ms }) => {
        counts[status] = (counts[status] ?? 0) + 1;
        if (status === 200) {
          latencies.push(ms);
          asked.push({ body, text: JSON.parse(text).choices[0].message.content });
        } else if (status === 429) check(Number(retryAfter) >= 1, `429 with Retry-After ${retryAfter}`);
        else check(false, `status ${status}: ${text.slice(0, 200)}`);
      },
      (error) => check(false, `a request failed: ${error.cause ?? error}`),
    );
    open.add(request);
    void request.finally(() => open.delete(request));
    await sleep((-Math.log(1 - random()) * 1000) / (times * rate));
  }
  await Promise.all(open);
  return { asked, counts, latencies };
}

/** What a library that nobody else asks says must be what was answered. */
async function checkAnswers(asked) {
  const { FeaturesCache, LongVLM } = await import('../dist/index.js');
  const cache = await FeaturesCache.open(join(root, 'reference'));
  const vlm = await LongVLM.load({ gpu: 'off', cache });
  const known = new Map();
  let wrong = 0;
  try {
    for (const { body, text } of asked) {
      const key = JSON.stringify(body);
      if (!known.has(key)) {
        const [{ video_url }, { text: question }] = body.messages[0].content;
        const sampling = body.longvlm;
        const answer = await vlm.ask(video_url.url, question, { maxTokens: 64, ...(sampling && { sampling }) });
        known.set(key, answer.text);
      }
      if (known.get(key) !== text && wrong++ < 3) problems.push(`answered '${text}' in place of '${known.get(key)}'`);
    }
  } finally {
    await vlm.dispose();
  }
  say(`${asked.length - wrong} of ${asked.length} answers are the library's own, of ${known.size} different questions`);
  check(wrong === 0, `${wrong} answers are others`);
}

/** Clients that go away at random moments, with videos that nobody asked about before. */
async function leave(url) {
  const all = Array.from({ length: gone }, async (_, index) => {
    await sleep(random() * 10_000);
    const body = { ...bodyOf(index, 7 + index / 1000), stream: random() < 0.5 };
    if (random() < 0.3) {
      const { video } = questions[index % questions.length];
      const bytes = readFileSync(join(world, video), 'base64');
      body.messages[0].content[0].video_url.url = `data:video/mp4;base64,${bytes}`;
    }
    const signal = AbortSignal.timeout(Math.ceil(random() * 3000));
    return ask(url, keys[index % clients], body, signal).then(
      ({ status }) => status,
      () => 'gone',
    );
  });
  const how = {};
  for (const each of await Promise.all(all)) how[each] = (how[each] ?? 0) + 1;
  say(`clients that went away, or got an answer before: ${JSON.stringify(how)}`);
}

/** Waits until nothing goes on, and no more is open than that, and tells what there is: a client keeps its connections for a while. */
async function settle(url, descriptors = Number.POSITIVE_INFINITY) {
  for (let tries = 0; ; tries++) {
    const text = await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${keys[0]}` } })).text();
    const running = [...text.matchAll(/^longvlm_(?:running|waiting)\{.*?\} (\d+)$/gm)].map(([, count]) =>
      Number(count),
    );
    const state = stateOf(server.pid);
    const isQuiet = running.length > 0 && running.every((count) => count === 0) && state.ffmpeg <= others;
    if (isQuiet && state.files.length === 0 && state.descriptors <= descriptors) return state;
    if (tries === 100) return state;
    await sleep(100);
  }
}

function stateOf(pid) {
  const list = (path) => {
    try {
      return readdirSync(path);
    } catch {
      return [];
    }
  };
  // Whoever their parent is: what a service leaves behind has another one.
  const isFfmpeg = (id) => {
    try {
      return /\/(ffmpeg|bwrap)$/.test(readlinkSync(`/proc/${id}/exe`));
    } catch {
      return false;
    }
  };
  const open = list(`/proc/${pid}/fd`);
  return {
    ffmpeg: list('/proc').filter((name) => /^\d+$/.test(name) && isFfmpeg(name)).length,
    threads: list(`/proc/${pid}/task`).length,
    descriptors: open.length,
    kinds: kindsOf(pid, open),
    // The folder itself goes with its last file.
    files: list(temporary).flatMap((name) => list(join(temporary, name))),
  };
}

/** How many descriptors there are of each kind. */
function kindsOf(pid, descriptors) {
  const kinds = {};
  for (const descriptor of descriptors)
    try {
      const kind = readlinkSync(`/proc/${pid}/fd/${descriptor}`).replace(/:\[\d+\]$/, '');
      kinds[kind] = (kinds[kind] ?? 0) + 1;
    } catch {
      // Closed meanwhile.
    }
  return kinds;
}

/** Samples memory, in MB, each half second. */
function sample(pid) {
  const samples = [];
  const take = () => {
    const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    samples.push({ at: performance.now() / 1000, mb: Number(kilobytes) / 1024 });
  };
  const timer = setInterval(take, 500);
  return {
    stop() {
      clearInterval(timer);
      return samples;
    },
  };
}

/** The line through the second half of the samples, MB a minute, and where they were. */
function slope(samples) {
  const half = samples.slice(Math.floor(samples.length / 2));
  const mean = (of) => half.reduce((sum, each) => sum + of(each), 0) / half.length;
  const [at, mb] = [mean((each) => each.at), mean((each) => each.mb)];
  const rise = mean((each) => (each.at - at) * (each.mb - mb)) / mean((each) => (each.at - at) ** 2);
  return { perMinute: rise * 60, mean: mb, most: Math.max(...samples.map((each) => each.mb)) };
}

function report({ rate, counts, latencies, growth }) {
  const sorted = latencies.toSorted((a, b) => a - b);
  const at = (share) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]);
  say(
    `${clients} clients, ${times} times ${rate.toFixed(1)} requests a second for ${seconds} s: ${JSON.stringify(counts)}`,
  );
  say(`latency of those that were answered: ${at(0.5)} ms in the middle, ${at(0.95)} ms for 95 of 100`);
  const { perMinute, mean, most } = growth;
  say(
    `memory in the second half: ${mean.toFixed(0)} MB, ${perMinute.toFixed(1)} MB a minute; at most ${most.toFixed(0)} MB`,
  );
  check(counts[200] > 0 && counts[429] > 0, 'some are to be answered, and some refused');
  check(perMinute < mean * 0.05, 'memory grows by more than a twentieth a minute');
}

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
function randomOf(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
