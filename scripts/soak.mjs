// `npm run soak`: whether one process that works for long stays flat in memory, and answers fifty calls at once. Minutes; not a test
// of `npm test`. Exit code 1 where memory grows or an answer is wrong.
//   --merges N (2000)   --questions N (200)   --at-once N (50)
import { readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import v8 from 'node:v8';
import vm from 'node:vm';

const { values } = parseArgs({
  options: {
    merges: { type: 'string', default: '2000' },
    questions: { type: 'string', default: '200' },
    'at-once': { type: 'string', default: '50' },
  },
});
const [merges, questions, atOnce] = [values.merges, values.questions, values['at-once']].map(Number);

v8.setFlagsFromString('--expose-gc');
const collect = vm.runInNewContext('gc');

const { LongVLM, mergeTokens } = await import('../dist/index.js');

const megabyte = 2 ** 20;
/** What may be kept of all calls together behind the first quarter, in MiB: caches of allocators come and go. */
const most = 24;

const threads = () => (process.platform === 'linux' ? readdirSync('/proc/self/task').length : 0);

function rss() {
  collect();
  return process.memoryUsage.rss();
}

/** The slope of a line through points, by least squares. */
function slope(points) {
  const mean = (of) => points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [x, y] = [mean(([each]) => each), mean(([, each]) => each)];
  const above = points.reduce((sum, [a, b]) => sum + (a - x) * (b - y), 0);
  return above / points.reduce((sum, [a]) => sum + (a - x) ** 2, 0);
}

/** Calls `work` so often, and says how the memory behind the first quarter grows. */
async function soak(name, count, work) {
  const points = [];
  const step = Math.max(1, Math.floor(count / 40));
  const started = performance.now();
  for (let i = 0; i < count; i++) {
    await work(i);
    if (i >= count / 4 && i % step === 0) points.push([i, rss()]);
  }
  const seconds = (performance.now() - started) / 1000;
  const bytes = slope(points);
  const grown = (bytes * (points.at(-1)[0] - points[0][0])) / megabyte;
  console.log(
    `${name}: ${count} in ${seconds.toFixed(1)} s; RSS ${(points[0][1] / megabyte).toFixed(1)} to ${(points.at(-1)[1] / megabyte).toFixed(1)} MiB, slope ${Math.round(bytes)} bytes a call (${grown.toFixed(2)} MiB in all), threads ${threads()}`,
  );
  if (grown > most) {
    console.error(`${name}: memory grew by ${grown.toFixed(1)} MiB, above ${most}`);
    process.exitCode = 1;
  }
}

function expectSame(name, results) {
  const different = new Set(results.map((each) => JSON.stringify(each)));
  if (different.size === 1) return;
  console.error(`${name}: ${different.size} different results where one is due`);
  process.exitCode = 1;
}

// Merging, as for 40 frames of 64 patches.
const dims = [4, 640, 256];
const tokens = { type: 'float32', data: Float32Array.from({ length: 4 * 640 * 256 }, (_, i) => Math.sin(i * i)), dims };
const merging = { heads: 4, keep: 30 };
await soak('merges', merges, () => mergeTokens(tokens, merging));
{
  const before = rss();
  const all = await Promise.all(Array.from({ length: atOnce }, () => mergeTokens(tokens, merging)));
  expectSame(
    'merges at once',
    all.map(({ assignment }) => [...assignment]),
  );
  all.length = 0;
  console.log(
    `merges at once: ${atOnce}; RSS ${(before / megabyte).toFixed(1)} to ${(rss() / megabyte).toFixed(1)} MiB`,
  );
}

const world = new URL('../test/fixtures/world/', import.meta.url);
const videos = readdirSync(world)
  .filter((name) => /^world-.*\.mp4$/.test(name))
  .slice(0, 8);
const vlm = await LongVLM.load();
try {
  // Each question with its own decoding, encoding, projection and context.
  const greedy = { temperature: 0 };
  await soak('questions', questions, (i) =>
    vlm.ask(new URL(videos[i % videos.length], world), 'What happens last?', greedy),
  );
  const features = await vlm.encode(new URL(videos[0], world));
  const before = rss();
  const answers = await Promise.all(
    Array.from({ length: atOnce }, () => vlm.ask(features, 'What happens last?', greedy)),
  );
  expectSame(
    'questions at once',
    answers.map(({ text, tokenIds }) => [text, tokenIds]),
  );
  const after = rss();
  console.log(
    `questions at once: ${atOnce}, all answered '${answers[0].text}'; RSS ${(before / megabyte).toFixed(1)} to ${(after / megabyte).toFixed(1)} MiB`,
  );
} finally {
  await vlm.dispose();
}
