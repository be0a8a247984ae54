// From what a caller names to files on this machine: presets, models of the catalogue, references to the hub, mmproj files.

import { isGguf } from '../files/openWeights.js';
import { catalogue } from '../models/catalogue.js';
import type { HubProgress } from '../models/hub/hub.js';
import { fetchModel, isHubReference, type ModelRole } from '../models/hub/reference.js';
import { readNano } from '../models/nano.js';
import { type LongVLMOptions, namesModels, type SettledOptions, settleOptions, visionIsMissing } from './options.js';

/** Options with everything settled, and models that are files or folders. */
export type Resolved = {
  readonly options: SettledOptions;
  /** Name of the preset that they come from, such as `nano`. */
  readonly preset: string | undefined;
};

/**
 * Settles what is to be loaded, downloading what lies on the hub.
 * @throws RangeError for a model that is not in the catalogue; TypeError where no vision tower is named; LongVLMError
 * `ERR_LONGVLM_PRESET`, `ERR_LONGVLM_HUB`, `ERR_LONGVLM_FILE`; `signal.reason`
 */
export async function resolveModels(options: LongVLMOptions): Promise<Resolved> {
  const preset = presetOf(options);
  // Settled first: what does not fit is known before gigabytes are downloaded.
  const settled = settleOptions(options, preset?.options);
  const [projector, llm] = [await located(settled, 'projector'), await located(settled, 'llm')];
  const vision = settled.vision === undefined ? await towerIn(projector) : await located(settled, 'vision');
  return {
    options: { ...settled, vision: vision!, ...(projector && { projector }), ...(llm && { llm }) },
    preset: preset?.name,
  };
}

function presetOf(options: LongVLMOptions): { readonly name: string; readonly options: LongVLMOptions } | undefined {
  const { model } = options;
  if (model === undefined) return namesModels(options) ? undefined : readNano();
  if (model === 'nano') return readNano();
  const known = catalogue.find(({ name }) => name === model);
  if (known) return known;
  const names = ['nano', ...catalogue.map(({ name }) => name)];
  throw new RangeError(`Expected ${names.join(', ')} for model but received ${JSON.stringify(model)}`);
}

async function located(options: LongVLMOptions, role: ModelRole): Promise<string | undefined> {
  const named = options[role];
  if (named === undefined || !isHubReference(named)) return named;
  const { offline, onDownload, signal } = options;
  return fetchModel(named, role, {
    offline,
    signal,
    ...(onDownload && { onProgress: (progress: HubProgress) => onDownload(progress) }),
  });
}

/** The tower in an mmproj file. */
async function towerIn(projector: string | undefined): Promise<string> {
  if (projector !== undefined && (await isGguf(projector))) return projector;
  throw visionIsMissing();
}
