// Resolves model names, hub references and mmproj files to files on this machine.
import { isGguf } from '../files/openWeights.js';
import { defaultModel, knownModel } from '../models/catalogue.js';
import { fetchModel, isHubReference, type ModelRole } from '../models/hub/reference.js';
import { projectorTensors } from '../projector/registry.js';
import { towerTensors } from '../tower/families.js';
import { type LongVLMOptions, namesModels, type SettledOptions, settleOptions, visionIsMissing } from './options.js';

/** Options with defaults applied, whose models are local files or folders. */
export type Resolved = {
  readonly options: SettledOptions;
  /** Name of the model of the catalogue, such as `nano`; undefined when files were named. */
  readonly preset: string | undefined;
};

/**
 * Resolves the models to load, and downloads those on the hub.
 * @param roles the models that are needed; others are neither downloaded nor in the result
 * @throws RangeError for a model that is not in the catalogue; TypeError if no vision tower is named; LongVLMError
 * `ERR_LONGVLM_PRESET`, `ERR_LONGVLM_HUB`, `ERR_LONGVLM_FILE`; `signal.reason`
 */
export async function resolveModels(
  options: LongVLMOptions,
  roles: readonly ModelRole[] = ['vision', 'projector', 'llm'],
): Promise<Resolved> {
  const preset = options.model ?? (namesModels(options) ? undefined : defaultModel);
  const { vision: named, ...settled } = settleOptions(options, preset === undefined ? {} : knownModel(preset).options);
  const files: { projector?: string; llm?: string } = {};
  // If no tower is named, it may be in the projector's file.
  const tower = named === undefined ? undefined : await located(settled, 'vision', named);
  for (const role of ['projector', 'llm'] as const) {
    const wanted = roles.includes(role) || (role === 'projector' && tower === undefined);
    const file = wanted ? await located(settled, role, settled[role]) : undefined;
    if (file !== undefined) files[role] = file;
  }
  const vision = tower ?? (await towerIn(files.projector));
  return { options: { ...settled, projector: undefined, llm: undefined, ...files, vision }, preset };
}

const namesIn = { vision: towerTensors, projector: projectorTensors, llm: undefined };

async function located(
  { offline, onProgress, signal }: LongVLMOptions,
  role: ModelRole,
  named: string | undefined,
): Promise<string | undefined> {
  if (named === undefined || !isHubReference(named)) return named;
  return fetchModel(named, role, { offline, signal: signal ?? undefined, onProgress }, namesIn[role]);
}

/** The mmproj file of the projector, which contains a tower. */
async function towerIn(projector: string | undefined): Promise<string> {
  if (projector !== undefined && (await isGguf(projector))) return projector;
  throw visionIsMissing();
}
