import { expect, test } from 'vitest';
import { memoryLimit, runsIn } from '../../../dist/cli/memory.js';

test('a model runs in memory that holds its weights and what is needed beside them', () => {
  expect(runsIn(8e9, 4.7e9)).toBe(true);
  expect(runsIn(6e9, 4.7e9)).toBe(false);
  expect(memoryLimit()).toBeGreaterThan(0);
});
