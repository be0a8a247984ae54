// The registry of vision tower families, which are tried in order.
import { LongVLMError } from '../base/errors.js';
import { clip } from './clip/clip.js';
import { foreignTower } from './foreignTower.js';
import { internvl } from './internvl/internvl.js';
import { qwen3vl } from './qwen3vl/qwen3vl.js';
import { qwen25vl } from './qwen25vl/qwen25vl.js';
import { gemma3 } from './siglip/gemma3.js';
import { llavaOnevision } from './siglip/llavaOnevision.js';
import { siglip } from './siglip/siglip.js';
import { smolvlm } from './siglip/smolvlm.js';
import type { OpenTowerOptions, TowerFamily, TowerSource } from './source.js';

// Those whose projector belongs to them come before plain towers, which would find the tower of such a model, too. CLIP's comes
// last: it claims whatever no other family does, and says what is wrong with it.
const families: TowerFamily[] = [llavaOnevision, smolvlm, internvl, gemma3, qwen3vl, qwen25vl, siglip, clip];

/**
 * Adds a family of vision towers, which is tried before the existing ones, or replaces the family with the same name.
 * @throws TypeError if `family` is not a tower family
 */
export function registerTower(family: TowerFamily): void {
  const added = foreignTower(family);
  const known = families.findIndex(({ name }) => name === added.name);
  if (known >= 0) families.splice(known, 1);
  families.unshift(added);
}

/** Of the names of a model's tensors those of its vision tower. */
export function towerTensors(names: readonly string[]): readonly string[] {
  for (const family of families) {
    const found = family.namesIn?.(names) ?? [];
    if (found.length > 0) return found;
  }
  return [];
}

/**
 * Finds the vision tower in a file or folder.
 * @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS`, `ERR_LONGVLM_UNSUPPORTED`; `signal.reason`
 */
export async function openTower(path: string, options: OpenTowerOptions = {}): Promise<TowerSource> {
  for (const family of families) {
    const found = await family.open(path, options);
    if (found) return found;
  }
  throw new LongVLMError(
    'ERR_LONGVLM_UNSUPPORTED',
    `${path} is no vision tower of a known family: ${families.map(({ name }) => name).join(', ')}. Give one of these.`,
  );
}
