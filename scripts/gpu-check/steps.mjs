// The steps of the check in the order in which they run, and how many seconds each may take.

import { golden, kernels, sanitizer, timings } from './kernelSteps.mjs';
import { machine } from './machine.mjs';
import { exits, whole } from './processSteps.mjs';
import { reducers } from './reducerSteps.mjs';
import { reductions } from './reductionSteps.mjs';
import { bound, copies, float16, repeats, towers, weights } from './towerSteps.mjs';

/**
 * A step is an async generator: it yields what it measured, as objects whose keys are added to the step's results, and
 * throws what is wrong. {@link Skipped} says that it cannot be done here. `countsCopies`: with the library loaded that does.
 */
export const steps = {
  machine: { run: machine, seconds: 40 },
  golden: { run: golden, seconds: 30 },
  weights: { run: weights, seconds: 40 },
  bound: { run: bound, seconds: 40 },
  towers: { run: towers, seconds: 120 },
  timings: { run: timings, seconds: 120 },
  reducers: { run: reducers, seconds: 60 },
  float16: { run: float16, seconds: 30 },
  copies: { run: copies, seconds: 30, countsCopies: true },
  reductions: { run: reductions, seconds: 60, countsCopies: true },
  whole: { run: whole, seconds: 40 },
  repeats: { run: repeats, seconds: 30 },
  exits: { run: exits, seconds: 40 },
  kernels: { run: kernels, seconds: 40 },
  sanitizer: { run: sanitizer, seconds: 100 },
};
