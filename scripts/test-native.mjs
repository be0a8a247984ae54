// Builds the kernels' C++ tests (test/native) and runs them with every instruction set that the CPU supports.
//
//   node scripts/test-native.mjs [--sanitize address|thread|all] [--cxx COMPILER] [--run COMMAND]
//
// address: AddressSanitizer and UndefinedBehaviorSanitizer. thread: ThreadSanitizer, for the multithreaded tests.
// For another processor, give a cross compiler and an emulator:
//   node scripts/test-native.mjs --cxx aarch64-linux-gnu-g++ --run 'qemu-aarch64 -L /usr/aarch64-linux-gnu'
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
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

/** Runs a program. If it fails, prints its output. */
function run(command, args, failure) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (result.status === 0) return result.stdout;
  process.stderr.write(`${result.stdout ?? ''}${result.stderr ?? ''}`);
  throw new TestError(`${failure}${result.error ? `: ${result.error.message}` : ''}`);
}

/** Builds the program, and returns what runs it. */
function build(name, { flags, args }, { cxx, run: runner }) {
  const key = createHash('sha256').update(`${flags} ${cxx}`).digest('hex').slice(0, 8);
  const out = join(root, 'build/native-test', key);
  const definitions = [
    `-DLONGVLM_SANITIZE=${flags}`,
    `-DLONGVLM_WERROR=${process.env.LONGVLM_WERROR === '1' ? 'ON' : 'OFF'}`,
    ...(cxx ? [`-DCMAKE_CXX_COMPILER=${cxx}`] : []),
  ];
  run('cmake', ['-S', 'test/native', '-B', out, ...definitions], 'The tests could not be configured (is CMake there?)');
  run('cmake', ['--build', out, '--parallel', '2'], 'The tests did not compile');
  const program = [...(runner?.split(' ') ?? []), join(out, 'native_test'), 'test/fixtures/merge', ...args];
  return async () => {
    try {
      const { stdout } = await promisify(execFile)(program[0], program.slice(1), { cwd: root, maxBuffer: 1 << 28 });
      for (const line of stdout.trim().split('\n')) console.log(`${name}: ${line}`);
    } catch (error) {
      process.stderr.write(`${error.stdout ?? ''}${error.stderr ?? ''}`);
      throw new TestError(`The tests failed (${name})${error.stderr === undefined ? `: ${error.message}` : ''}`);
    }
  };
}

try {
  const chosen = options();
  if (chosen.sanitize === undefined) await build('native', { flags: '', args: [] }, chosen)();
  else if (process.platform === 'win32') console.log('native: sanitizers are not run on Windows');
  else {
    const programs = Object.entries(sanitizers)
      .filter(([name]) => chosen.sanitize === name || chosen.sanitize === 'all')
      .map(([name, sanitizer]) => build(`${name} sanitizer`, sanitizer, chosen));
    // Much of each uses one core.
    for (const { status, reason } of await Promise.allSettled(programs.map((test) => test())))
      if (status === 'rejected') throw reason;
  }
} catch (error) {
  if (!(error instanceof TestError)) throw error;
  console.error(`longvlm: ${error.message}`);
  process.exitCode = 1;
}
