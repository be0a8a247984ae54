// Runs the tests of training/ that need no more than Python and numpy; skipped, with the reason, where these are missing.
//
//   node scripts/check-training.mjs
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const training = fileURLToPath(new URL('../training', import.meta.url));
const probe = 'import sys\nif sys.version_info < (3, 10): sys.exit("Python is older than 3.10")\nimport numpy';

/** Why Python cannot run the tests, or undefined where it can. */
function whyNot(python) {
  const result = spawnSync(python, ['-c', probe], { encoding: 'utf8' });
  if (result.error) return `${python}: ${result.error.code}`;
  return result.status === 0 ? undefined : `${python}: ${result.stderr.trim().split('\n').at(-1)}`;
}

const reasons = [];
const python = ['python3', 'python'].find((name) => {
  const reason = whyNot(name);
  if (reason) reasons.push(reason);
  return !reason;
});
if (python) {
  // -B: no __pycache__ in the sources.
  const { status } = spawnSync(python, ['-B', '-m', 'unittest'], { cwd: training, stdio: 'inherit' });
  process.exitCode = status ?? 1;
} else {
  console.log(`skipped: ${reasons.join('; ')}`);
}
