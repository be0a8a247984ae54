// Merges every golden case in a process of its own, whose environment chooses the addon, the instruction set and the
// threads. Prints { instructionSet, results }.
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { binding } from '../../dist/binding.js';
import { openSafetensors, readFloatTensor } from '../../dist/files/safetensors.js';
import { mergeTokens } from '../../dist/kernels/index.js';

const folder = fileURLToPath(new URL('../fixtures/merge/', import.meta.url));
const results = {};
for (const file of readdirSync(folder)) {
  const { tensors, metadata } = await openSafetensors(folder + file);
  const tokens = await readFloatTensor(tensors.get('tokens'));
  const merged = await mergeTokens(tokens, {
    heads: Number(metadata.heads),
    schedule: JSON.parse(metadata.schedule),
  });
  results[file.replace('.safetensors', '')] = {
    dims: merged.tokens.dims,
    tokens: [...merged.tokens.data],
    sizes: [...merged.sizes.data],
    assignment: [...merged.assignment],
  };
}
console.log(JSON.stringify({ instructionSet: binding().instructionSet(), results }));
