// Rows with TypeScript and test runners.
import { answer } from './question.mjs';
import { installed, row, succeeds } from './rows.mjs';

const consumer = `import { LongVLM, type VideoFeatures } from 'longvlm';
import { mergeTokens } from 'longvlm/kernels';

export async function ask(video: string): Promise<string> {
  const vlm = await LongVLM.load();
  try {
    const features: VideoFeatures = await vlm.encode(video, { signal: null });
    const chat = await vlm.chat(features);
    return await chat.ask('What is in it?', { maxTokens: 20 });
  } finally {
    await vlm.dispose();
  }
}
export async function merge(data: Float32Array): Promise<readonly number[]> {
  const { tokens } = await mergeTokens({ type: 'float32', data, dims: [2, 64, 16] }, { heads: 2, keep: 8 });
  return tokens.dims;
}
// @ts-expect-error the types are there, and hold
mergeTokens('tokens');
`;

const settings = {
  node16: { module: 'node16' },
  nodenext: { module: 'nodenext' },
  bundler: { module: 'preserve', moduleResolution: 'bundler' },
};

const typed = `import { ask } from './asking.mjs';

const said: string = await ask();
console.log(said);
`;

const vitest = `import { expect, test } from 'vitest';
import { ask } from './asking.mjs';

test('asks', async () => {
  expect(await ask()).toBe('${answer}');
}, 60_000);
`;

const jest = `import { expect, test } from '@jest/globals';
import { ask } from './asking.mjs';

test('asks', async () => {
  expect(await ask()).toBe('${answer}');
}, 60_000);
`;

export async function* checkerRows(user) {
  const tools = ['typescript@5.9.3', '@types/node@20.19.43', 'tsx@4', 'vitest@4', 'jest@30'];
  const made = await installed(user, 'checkers', ['longvlm', ...tools]);
  made.write('package.json', JSON.stringify({ name: 'somebody', private: true, type: 'module' }));
  made.write('types/consumer.ts', consumer);
  for (const [name, setting] of Object.entries(settings)) {
    const compilerOptions = {
      ...setting,
      target: 'es2022',
      strict: true,
      skipLibCheck: false,
      noEmit: true,
      types: ['node'],
    };
    made.write(`types/${name}.json`, JSON.stringify({ compilerOptions, files: ['consumer.ts'] }));
    const checked = await made.node(['node_modules/typescript/bin/tsc', '-p', `types/${name}.json`]);
    yield succeeds(`TypeScript, ${name}, skipLibCheck: false`, checked);
  }
  made.write('ask.ts', typed);
  yield row('tsx', await made.node(['node_modules/tsx/dist/cli.mjs', 'ask.ts']));
  made.write('ask.test.mjs', vitest);
  yield succeeds('vitest', await made.node(['node_modules/vitest/vitest.mjs', 'run']));
  made.write('asks.jest.mjs', jest);
  made.write('jest.config.json', JSON.stringify({ testMatch: ['**/*.jest.mjs'], transform: {} }));
  const jestProgram = ['--experimental-vm-modules', 'node_modules/jest/bin/jest.js', '-c', 'jest.config.json'];
  yield succeeds('jest', await made.node(jestProgram));
}
