// How Hugging Face names the tensors of a CLIP tower, in files that may hold others, too.
import { LongVLMError } from '../../base/errors.js';

/** The first tensor of a tower. */
export const classEmbedding = 'embeddings.class_embedding';

/** What stands before the names of a tower's tensors, such as `vision_model.`; one for each tower. */
export function towerPrefixes(names: readonly string[]): string[] {
  const isFirst = (name: string) => name === classEmbedding || name.endsWith(`.${classEmbedding}`);
  return names.filter(isFirst).map((name) => name.slice(0, -classEmbedding.length));
}

/** Of all names in a file those of the tower. */
export function towerNames(names: readonly string[]): string[] {
  const prefixes = towerPrefixes(names);
  return names.filter((name) => prefixes.some((prefix) => name.startsWith(prefix)));
}

/**
 * Checks that a tower is computed with all of its tensors: with others it would be another tower.
 * @param names of the tower's tensors, without what they have in common
 * @param used those that it is computed with
 * @param harmless matches those that its outputs do not depend on
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`, which names the first other tensor
 */
export function checkAllUsed(
  path: string,
  names: readonly string[],
  used: ReadonlySet<string>,
  harmless: (name: string) => boolean,
): void {
  const other = names.find((name) => !used.has(name) && !harmless(name));
  if (other === undefined) return;
  throw new LongVLMError(
    'ERR_LONGVLM_UNSUPPORTED',
    `${path}: tensor ${other} is no part of a CLIP vision tower as it is computed here, where ignoring it could give other features. Use a tower without it.`,
  );
}
