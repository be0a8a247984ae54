// The kernels by themselves: cuda_test, cuda_bench, compute-sanitizer, and the same merging in PyTorch.
import { join } from 'node:path';
import { jsonLines, median, need, output, program, python, root, Skipped } from './common.mjs';

const built = (name, { emulated }) => join(root, 'build/cuda', emulated ? `${name}_emulated` : name);
const goldenFolder = join(root, 'build/golden');

/** The summary that cuda_test prints last. */
const summary = (printed) => printed.trim().split('\n').at(-1);

/** The reference's merge cases, into memory filled with NaN, many times over. */
export async function* golden(context) {
  const repeat = context.emulated ? 3 : 100;
  const args = ['--golden', goldenFolder, '--only', 'golden', '--poison', '--repeat', String(repeat)];
  yield { repeat, result: summary(await output(built('cuda_test', context), args)) };
}

/** All of cuda_test. */
export async function* kernels(context) {
  if (context.emulated) throw new Skipped('npm run test:cuda runs all of cuda_test by emulation');
  yield { result: summary(await output(built('cuda_test', context), ['--quick', '--poison'])) };
}

const reducerTests = [
  'v-cast',
  'evs',
  'temporal',
  'anchors',
  'density',
  'diverse',
  'top-k',
  'frame-means',
  'segments',
  'flash-vid',
  'vid-com2',
  'aim',
  'reducer-reports',
  'method-reports',
];

/** Each tool of compute-sanitizer over the golden cases, then over more for as long as there is time. */
export async function* sanitizer(context) {
  if (context.emulated) throw new Skipped('compute-sanitizer needs a GPU');
  const { code } = await program('compute-sanitizer', ['--version']);
  if (code !== 0) throw new Skipped('compute-sanitizer is not there');
  const tests = [
    ['--golden', goldenFolder, '--only', 'golden'],
    ...['pool', 'spread', 'assignment', 'matching', 'schedules', ...reducerTests].map((name) => [
      '--quick',
      '--only',
      name,
    ]),
  ];
  const tools = ['memcheck', 'racecheck', 'initcheck', 'synccheck'];
  const end = performance.now() + (context.seconds - 5) * 1000;
  for (const test of tests) {
    for (const tool of tools) {
      const seconds = (end - performance.now()) / 1000;
      const name = `${tool} ${test.at(-1)}`;
      if (seconds < 1) {
        yield { [name]: 'not run: no time left' };
        continue;
      }
      const ran = await program(
        'compute-sanitizer',
        ['--tool', tool, '--error-exitcode', '9', built('cuda_test', context), ...test],
        { seconds },
      );
      need(ran.late || ran.code === 0, ran.problem);
      yield { [name]: ran.late ? 'no time left; nothing was found until then' : summary(ran.stdout) };
    }
  }
}

const shapes = [
  [10, 2560, 1024],
  [1, 2560, 1024],
];

/** Times of the kernels, beside a copy on the device and beside PyTorch's merging. */
export async function* timings(context) {
  const bench = built('cuda_bench', context);
  if (context.emulated) {
    const lines = jsonLines(await output(bench, ['--json', '--rounds', '1', '--case', '[1,2560,1024] f16']));
    need(lines.length === 5, `cuda_bench printed ${lines.length} lines`);
    return;
  }
  for (const { case: name, operation, ...line } of jsonLines(await output(bench, ['--json'])))
    yield { [`${name} ${operation}`]: line };
  for (const [segments, tokens, channels] of shapes)
    for (const type of ['float16', 'float32']) {
      const shape = ['--shape', segments, tokens, channels, '--type', type, '--rows', 'index'].map(String);
      const golden = ['--golden', join(root, 'test/fixtures/merge'), '--device', 'cuda', '--seconds', '0.5'];
      const { code, stdout, problem } = await program(python, [
        join(root, 'bench/merge_tokens.py'),
        ...golden,
        ...shape,
      ]);
      if (code === 3) return yield { PyTorch: `${python} has no PyTorch` };
      need(code === 0, problem);
      for (const { way, milliseconds } of jsonLines(stdout))
        yield {
          [`PyTorch [${segments},${tokens},${channels}] ${type}, ${way}`]: { medianUs: 1000 * median(milliseconds) },
        };
    }
}
