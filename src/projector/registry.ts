// The registry of projector families.
import type { OnProgress } from '../base/progress.js';
import { openWeights } from '../files/openWeights.js';
import type { ProjectorFamily, ProjectorSource } from './family.js';
import { foreignProjector } from './foreignProjector.js';
import { layerNames, refuse } from './layers.js';
import { linear } from './linear.js';
import { mlp2xGelu } from './mlp2xGelu.js';

const builtIn = [linear, mlp2xGelu];
const registered = new Map<string, ProjectorFamily>();

/**
 * Adds a kind of projector to `Projector.load`. Registered families are tried before the built-in ones, in the order in which
 * their names were first registered. Registering a name again replaces the family.
 * @throws TypeError or RangeError if `family` is not a projector family
 */
export function registerProjector(family: ProjectorFamily): void {
  const added = foreignProjector(family);
  registered.set(added.name, added);
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
 * Finds the projector in a weight file.
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the file cannot be read; `ERR_LONGVLM_WEIGHTS` when a tensor is missing or has a
 * wrong shape or type; `ERR_LONGVLM_UNSUPPORTED` for an unknown kind of projector; errors of registered families;
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
