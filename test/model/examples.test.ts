import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { pico } from '../fixtures/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

function run(example: string, args: readonly string[] = [], env = {}): string {
  const options = { cwd: root, encoding: 'utf8', env: { ...process.env, ...env }, stdio: 'pipe' } as const;
  return execFileSync(process.execPath, [`examples/${example}`, ...args], options);
}

describe('examples', () => {
  test('merge-tokens.mjs merges and comes back', () => {
    const output = run('merge-tokens.mjs');
    expect(output).toMatch(/merged \[ 30, 64 \] patches in the largest token \d+/);
    expect(output).toContain('one step [ 1, 1560, 64 ] and back [ 1, 2560, 64 ]');
  });

  test('ask.mjs asks two questions', () => {
    const env = { LONGVLM_VISION: pico.clip, LONGVLM_PROJECTOR: pico.projector, LONGVLM_LLM: pico.llm };
    // This tower gives 16 patches a frame, so that its segments of 10 frames can keep 30 tokens.
    expect(run('ask.mjs', [pico.video], env).match(/^> /gm)).toHaveLength(2);
  });
});
