// The examples of README.md and docs/ run as they are pasted: in a folder with the files that they name, and with the package installed.
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';
import * as longvlm from '../../dist/index.js';
import { findFfmpeg } from '../../dist/video/ffmpeg.js';
import { pico } from '../fixtures/index.js';
import { temporaryFolder } from '../fixtures/vision/index.js';
import { runNode } from '../kernels/childProcess.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The files that examples name. */
const files: Record<string, string> = {
  'mmproj-model-f16.gguf': pico.mmproj,
  'llava-v1.5-7b-Q4_K_M.gguf': pico.llm,
  'llama.gguf': pico.llm,
  'vicuna.gguf': pico.llm,
  'mm_projector.safetensors': pico.projector,
};

/** What a fragment takes from the text around it. */
const surroundings: Record<string, string> = {
  vlm: `const vlm = await (await import('longvlm')).LongVLM.load({ projector: 'mmproj-model-f16.gguf', llm: 'llama.gguf' });`,
  url: `const url = 'talk.mp4';`,
  tokens: `const tokens = { type: 'float32', data: new Float32Array(4 * 64 * 32).fill(1), dims: [4, 64, 32] };`,
  features: `const features = await (await import('longvlm')).VideoFeatures.load('talk.safetensors');`,
};

/** Examples that are for another place than this folder, with the reason. */
const elsewhere: Record<string, RegExp> = {};

type Example = { readonly name: string; readonly code: string };

function examplesIn(page: string): Example[] {
  const text = readFileSync(join(root, page), 'utf8');
  const blocks = [...text.matchAll(/^```(?:js|mjs|ts|javascript|typescript)\n(.*?)^```$/gms)];
  return blocks
    .map(({ 1: code, index }) => ({ name: `${page}:${text.slice(0, index).split('\n').length}`, code: code! }))
    .filter(({ code }) => !elsewhere[page]?.test(code));
}

/** A module of an example: TypeScript as JavaScript, behind what is told beside it. */
function moduleOf({ code }: Example): string {
  const { outputText } = ts.transpileModule(code, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
  });
  const isUsed = (name: string) => new RegExp(`(?<![.\\w'"])${name}\\b`).test(code.replace(/\/\/.*$/gm, ''));
  const isDeclared = (name: string) =>
    new RegExp(`(const|let|function|class|import|,) [^=;]*\\b${name}\\b(?!\\s*:)[^;]*(=|from)`).test(code);
  const missing = (names: readonly string[]) => names.filter((name) => isUsed(name) && !isDeclared(name));
  const imports = missing(Object.keys(longvlm));
  return [
    `import { ${imports.join(', ')} } from 'longvlm';`,
    ...missing(Object.keys(surroundings)).map((name) => surroundings[name]),
    outputText,
  ].join('\n');
}

const pages = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)].filter((name) =>
  name.endsWith('.md'),
);
const examples = pages.flatMap(examplesIn);

test('every example runs as it is pasted', async () => {
  const folder = await temporaryFolder();
  for (const name of ['longvlm', 'ai', '@ai-sdk/provider']) {
    mkdirSync(dirname(join(folder, 'node_modules', name)), { recursive: true });
    symlinkSync(name === 'longvlm' ? root : join(root, 'node_modules', name), join(folder, 'node_modules', name));
  }
  for (const [name, file] of Object.entries(files)) copyFileSync(file, join(folder, name));
  cpSync(pico.clip, join(folder, 'clip'), { recursive: true });
  // The examples sample some minutes of it.
  const { path: ffmpeg } = await findFfmpeg(undefined);
  const picture = ['-f', 'lavfi', '-i', 'testsrc=size=32x32:rate=2:duration=180', '-pix_fmt', 'yuv420p'];
  execFileSync(ffmpeg, ['-v', 'error', ...picture, join(folder, 'talk.mp4')]);
  for (const name of ['a.mp4', 'b.mp4']) copyFileSync(join(folder, 'talk.mp4'), join(folder, name));
  const [question] = /^\{"video": .*\}$/m.exec(readFileSync(join(root, 'docs/evaluation.md'), 'utf8'))!;
  writeFileSync(join(folder, 'questions.jsonl'), `${question}\n`);
  expect(examples.length).toBeGreaterThan(5);
  const names = examples.map((example, index) => {
    writeFileSync(join(folder, `${index}.mjs`), moduleOf(example));
    return example.name;
  });
  writeFileSync(
    join(folder, 'all.mjs'),
    // The models of the tests never end their answers, and are too small for threads.
    `import { LongVLM, VideoChat } from 'longvlm';
    const { load } = LongVLM;
    LongVLM.load = (options) => load.call(LongVLM, { ...options, threads: 1 });
    const { stream } = VideoChat.prototype;
    VideoChat.prototype.stream = function (question, options) {
      return stream.call(this, question, { ...options, maxTokens: 4 });
    };
    const failed = [];
    for (const [index, name] of ${JSON.stringify(names)}.entries())
      await import('./' + index + '.mjs').catch((error) => failed.push(name + ': ' + error));
    await import('node:fs').then(({ writeFileSync }) => writeFileSync('failed.json', JSON.stringify(failed)));
    process.exit();`,
  );
  const { code, stderr } = await runNode([join(folder, 'all.mjs')], {}, folder);
  expect(stderr).not.toMatch(/MaxListeners|Deprecation/);
  expect({ code, failed: code === 0 ? JSON.parse(readFileSync(join(folder, 'failed.json'), 'utf8')) : stderr }).toEqual(
    {
      code: 0,
      failed: [],
    },
  );
});
