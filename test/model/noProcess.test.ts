// Where llama.cpp cannot be started: one error that says what helps, in a process that goes on.
import { describe, expect, test } from 'vitest';
import { pico } from '../fixtures/index.js';
import { runNode } from '../kernels/childProcess.js';

const index = JSON.stringify(new URL('../../dist/llm/model.js', import.meta.url).href);

/** What loading a language model in a child process ends with. */
async function loading(before: string, device = 'auto') {
  const script = `import { register } from 'node:module';
    import { LanguageModel } from ${index};
    ${before}
    await LanguageModel.load({ path: ${JSON.stringify(pico.llm)}, device: '${device}' }).then(
      () => console.log('loaded'),
      (error) => console.log(error.code + ': ' + error.message),
    );`;
  return await runNode(['--input-type=module', '-e', script]);
}

/** Every package of node-llama-cpp's binaries is missing. */
const hooks = `export const resolve = (name, context, next) => {
  if (name.startsWith('@node-llama-cpp/')) throw Object.assign(new Error('Cannot find package ' + name), { code: 'ERR_MODULE_NOT_FOUND' });
  return next(name, context);
};`;
const withoutPackages = `register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hooks)}`)});`;

describe('a language model', () => {
  test('is loaded by a script on the command line, whose options files do not take', async () => {
    expect(await loading('process.once("beforeExit", () => process.exit());')).toMatchObject({
      code: 0,
      stdout: 'loaded\n',
    });
  });

  test('says so where no process can be started', async () => {
    expect(await loading(`process.execPath = '/nonexistent/node';`)).toEqual({
      code: 0,
      stdout: expect.stringMatching(
        /^ERR_LONGVLM_LLM: llama.cpp cannot start on auto: no process can be started .*ENOENT\. Let this program start processes/,
      ),
      stderr: '',
    });
  });

  test('names the packages where they are missing', async () => {
    expect((await loading(withoutPackages, 'cpu')).stdout).toMatch(
      /^ERR_LONGVLM_LLM: llama.cpp cannot start on cpu: .* no binary .*\. Install longvlm again with its optional dependencies .*@node-llama-cpp\/\w+-\w+/,
    );
  });
});
