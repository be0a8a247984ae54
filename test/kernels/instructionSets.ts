import { binding } from '../../dist/binding.js';

/** The instruction sets to test on this machine, the plainest first. */
export const instructionSets: readonly string[] = ['portable', ...bestOfCpu()];

function bestOfCpu(): string[] {
  const best = binding().instructionSet();
  if (best === 'portable') console.warn('no instruction set beyond the portable one is tested: this CPU has none');
  return best === 'portable' ? [] : [best];
}

export function useInstructionSet(name: string): void {
  binding().setMaxInstructionSet({ name });
}
