// Which kinds of projector there are.
import type { OnProgress } from '../base/progress.js';
import { checkFunction, checkObject, checkString } from '../base/validate.js';
import { openWeights } from '../files/openWeights.js';
import type { ProjectorFamily, ProjectorSource } from './family.js';
import { layerNames, refuse } from './layers.js';
import { linear } from './linear.js';
import { mlp2xGelu } from './mlp2xGelu.js';

const builtIn = [linear, mlp2xGelu];
const registered = new Map<string, ProjectorFamily>();

/**
 * Lets `Projector.load` find another kind of projector. Registered families are asked before the built-in ones, in the order in
 * which their names were first registered; the same name again replaces the family.
 * @throws TypeError or RangeError for what is no family
 */
export function registerProjector(family: ProjectorFamily): void {
  checkObject('family', family);
  checkString('family.name', family.name);
  checkFunction('family.open', family.open);
  registered.set(family.name, family);
}

/** Of the names of a model's tensors those of its projector. */
export function projectorTensors(names: readonly string[]): readonly string[] {
  for (const family of registered.values()) {
    const found = family.namesIn?.(names) ?? [];
    if (found.length > 0) return found;
  }
  return layerNames(names);
}

/**
 * The projector in any file of weights.
 * @throws LongVLMError `ERR_LONGVLM_FILE` when it cannot be read; `ERR_LONGVLM_WEIGHTS` that names the tensor which is missing, or
 * of a wrong shape or type; `ERR_LONGVLM_UNSUPPORTED` for another kind of projector; what a registered family throws;
 * `signal.reason`.
 */
export async function openProjector(
  path: string,
  signal?: AbortSignal,
  onProgress?: OnProgress,
): Promise<ProjectorSource> {
  const file = await openWeights(path);
  for (const family of [...registered.values(), ...builtIn]) {
    signal?.throwIfAborted();
    const source = await family.open(file, signal, onProgress);
    if (source) return source;
  }
  return refuse(file, builtIn);
}
