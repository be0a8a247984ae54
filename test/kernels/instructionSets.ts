import { binding } from '../../dist/binding.js';

/** The instruction sets to test on this machine, the plainest first. */
export const instructionSets: readonly string[] = binding().instructionSets();
if (instructionSets.length === 1)
  console.warn('no instruction set beyond the portable one is tested: this CPU has none');

export function useInstructionSet(name: string): void {
  binding().setMaxInstructionSet({ name });
}
