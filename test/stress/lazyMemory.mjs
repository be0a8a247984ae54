// Lets go of memory that V8 and the C library would keep, and has a lazy language model loaded; prints by how many bytes the process had
// shrunk when its weights had been read. Run with --expose-gc.
import { fileURLToPath } from 'node:url';
import { LanguageModel } from '../../dist/index.js';

const path = fileURLToPath(new URL('../fixtures/pico/llm.gguf', import.meta.url));
let atLoad;
const onProgress = () => {
  atLoad ??= process.memoryUsage.rss();
};
const model = await LanguageModel.load({ path, device: 'cpu', threads: 1, lazy: true, onProgress });

// Small enough to be of the heap, which keeps what is freed while something lies behind it. Those that live after two collections are
// not found again without a full one.
let [dropped, held] = [[], []];
for (let i = 0; i < 700; i++) {
  dropped.push(new Uint8Array(1 << 16).fill(1));
  held.push(new Uint8Array(1 << 14).fill(1));
}
gc();
gc();
const before = process.memoryUsage.rss();
const bytes = dropped.length << 16;
dropped = [];
if (atLoad !== undefined) throw new Error('the weights were read before they were needed');
await model.loadWhole(undefined);
await model.dispose();
console.log(JSON.stringify({ dropped: bytes, shrunk: before - atLoad, held: held.length }));
