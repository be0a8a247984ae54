// What rows of the table share.
import { npm } from './managers.mjs';
import { project } from './project.mjs';
import { answer, questionFunction, questionModule, questionScript } from './question.mjs';

/** What a run says, as a row: it passes with `expected` as its output. */
export function row(name, result, expected = answer) {
  const passed = result.code === 0 && result.stdout.trim() === expected;
  return { name, passed, note: passed ? '' : `${result.code}: ${result.stdout}${result.stderr}`.slice(-2000) };
}

const quiet = ['--no-audit', '--no-fund'];

/** A project with longvlm and maybe more, installed by npm from a cache that all of these projects share. */
export async function installed(user, name, packages = ['longvlm'], flags = []) {
  const made = project(user, name, {
    home: 'shared',
    files: { 'ask.mjs': questionModule, 'ask.cjs': questionScript, 'asking.mjs': questionFunction },
  });
  const { code, stdout, stderr } = await made.node([npm(), 'install', ...packages, ...quiet, ...flags]);
  if (code !== 0) throw new Error(`npm install ${packages.join(' ')}: ${stdout}${stderr}`);
  return made;
}

/** A row that passes where the program succeeds. */
export function succeeds(name, { code, stdout, stderr }) {
  return { name, passed: code === 0, note: code === 0 ? '' : `${stdout}${stderr}`.slice(-2000) };
}
