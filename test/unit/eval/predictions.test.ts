import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { savePredictions } from '../../../dist/index.js';
import { temporaryFolder } from '../../fixtures/vision/index.js';

const entry = { video: '/videos/v_1.a.mp4', question: 'Who?', answer: 'Ann.', kind: 'who' };

test("savePredictions() writes what Video-ChatGPT's scripts read", async () => {
  const folder = await temporaryFolder();
  const file = path.join(folder, 'predictions.json');
  await savePredictions(file, [{ entry, answers: ['Bob'], score: 0 }]);
  await savePredictions(file, [
    { entry, answers: ['ann "the" Ann\n'], score: 1 },
    { entry: { ...entry, question2: 'Which one?' }, answers: ['Ann', 'Bob'], score: 0.5 },
  ]);
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual([
    { video_name: 'v_1.a', Q: 'Who?', A: 'Ann.', pred: 'ann "the" Ann\n', kind: 'who', score: 1 },
    {
      video_name: 'v_1.a',
      Q1: 'Who?',
      Q2: 'Which one?',
      A: 'Ann.',
      pred1: 'Ann',
      pred2: 'Bob',
      kind: 'who',
      score: 0.5,
    },
  ]);
  await expect(savePredictions(path.join(folder, 'no/predictions.json'), [])).rejects.toMatchObject({
    code: 'ERR_LONGVLM_FILE',
  });
  expect(readdirSync(folder)).toEqual(['predictions.json']);
});
