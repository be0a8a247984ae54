// The demo question, as a program of a project that has longvlm installed.

export const answer = 'A white moon.';

const lines = (get) => `${get}
const vlm = await LongVLM.load();
const chat = await vlm.chat(demo);
const said = await chat.ask('What comes right after the red hearts?');
await chat.dispose();
await vlm.dispose();
`;

const demo = `const demo = require.resolve('longvlm/package.json').replace(/package\\.json$/, 'models/nano/demo.mp4');`;

/** As a module. */
export const questionModule = `${lines(`import { createRequire } from 'node:module';
import { LongVLM } from 'longvlm';

const require = createRequire(import.meta.url);
${demo}`)}console.log(said);
`;

/** For CommonJS, with `require('longvlm')`. */
export const questionScript = `const { LongVLM } = require('longvlm');
${demo}
async function main() {
${lines('')}console.log(said);
}
main();
`;

/** A function `ask()` that is exported by a module. */
export const questionFunction = `import { createRequire } from 'node:module';
import { LongVLM } from 'longvlm';

const require = createRequire(import.meta.url);
${demo}
export async function ask() {
${lines('')}return said;
}
`;

/** One of these for a bundle, which is run in the project's folder: bundlers resolve what they can. */
export const forBundle = (text) =>
  text.replace(demo, "const demo = 'node_modules/longvlm/models/nano/demo.mp4';").replace(/^const require = .*$/m, '');

/** Kernels alone; prints a line. */
export const mergeModule = (name) => `import { mergeTokens } from '${name}';

const data = new Float32Array(2 * 64 * 16).map((_, i) => Math.sin(i));
const { sizes } = await mergeTokens({ type: 'float32', data, dims: [2, 64, 16] }, { heads: 2, keep: 8 });
console.log('merged', sizes.dims.join('x'), sizes.data.reduce((sum, size) => sum + size));
`;

export const merged = 'merged 2x8 128';
