// Builds the kernels' C++ tests (test/native) and runs them with every instruction set that the CPU supports.
//
//   node scripts/test-native.mjs [--sanitize address|thread|all] [--cxx COMPILER] [--run COMMAND]
//
// address: AddressSanitizer and UndefinedBehaviorSanitizer. thread: ThreadSanitizer, for the multithreaded tests.
// For another processor, give a cross compiler and an emulator:
//   node scripts/test-native.mjs --cxx aarch64-linux-gnu-g++ --run 'qemu-aarch64 -L /usr/aarch64-linux-gnu'
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

const root = resolve(fileURLToPath(new URL('..', import.meta.url)));
const usage = 'usage: test-native.mjs [--sanitize address|thread|all] [--cxx COMPILER] [--run COMMAND]';
const sanitizers = {
  address: { flags: 'address,undefined', args: [] },
  thread: { flags: 'thread', args: ['--threads'] },
};

class TestError extends Error {}

function options() {
  const string = { type: 'string' };
  try {
    const { values } = parseArgs({ options: { sanitize: string, cxx: string, run: string } });
    if (values.sanitize !== undefined && values.sanitize !== 'all' && !(values.sanitize in sanitizers))
      throw new Error(`'${values.sanitize}' is not a sanitizer`);
    return values;
  } catch (error) {
    throw new TestError(`${error.message}\n${usage}`);
  }
}

/** Runs a program; resolves to what it wrote to stdout. If it fails, prints its output. */
async function run(command, args, failure) {
  try {
    const { stdout } = await promisify(execFile)(command, args, { cwd: root, maxBuffer: 1 << 28 });
    return stdout;
  } catch (error) {
    process.stderr.write(`${error.stdout ?? ''}${error.stderr ?? ''}`);
    throw new TestError(`${failure}${error.stderr === undefined ? `: ${error.message}` : ''}`);
  }
}

/** Builds the program with so many compilers at once, and runs it. */
async function test(name, { flags, args }, { cxx, run: runner }, jobs) {
  const key = createHash('sha256').update(`${flags} ${cxx}`).digest('hex').slice(0, 8);
  const out = join(root, 'build/native-test', key);
  const definitions = [
    `-DLONGVLM_SANITIZE=${flags}`,
    `-DLONGVLM_WERROR=${process.env.LONGVLM_WERROR === '1' ? 'ON' : 'OFF'}`,
    ...(cxx ? [`-DCMAKE_CXX_COMPILER=${cxx}`] : []),
  ];
  const configure = ['-S', 'test/native', '-B', out, ...definitions];
  await run('cmake', configure, 'The tests could not be configured (is CMake there?)');
  await run('cmake', ['--build', out, '--parallel', String(jobs)], `The tests did not compile (${name})`);
  const program = [...(runner?.split(' ') ?? []), join(out, 'native_test'), 'test/fixtures/merge', ...args];
  const printed = await run(program[0], program.slice(1), `The tests failed (${name})`);
  for (const line of printed.trim().split('\n')) console.log(`${name}: ${line}`);
}

try {
  const chosen = options();
  const cores = availableParallelism();
  if (chosen.sanitize === undefined) await test('native', { flags: '', args: [] }, chosen, cores);
  else if (process.platform === 'win32') console.log('native: sanitizers are not run on Windows');
  else {
    const wanted = Object.entries(sanitizers).filter(([name]) => chosen.sanitize === name || chosen.sanitize === 'all');
    // At once, as configuring, linking and much of the tests use one core.
    const jobs = Math.max(1, Math.floor(cores / wanted.length));
    const tests = wanted.map(([name, sanitizer]) => test(`${name} sanitizer`, sanitizer, chosen, jobs));
    for (const { status, reason } of await Promise.allSettled(tests)) if (status === 'rejected') throw reason;
  }
} catch (error) {
  if (!(error instanceof TestError)) throw error;
  console.error(`longvlm: ${error.message}`);
  process.exitCode = 1;
}
