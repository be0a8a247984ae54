// How Hugging Face names the tensors of a CLIP tower, in files that may hold others, too.
import { namesUnder, prefixesOf } from '../tensorFinder.js';

/** The first tensor of a tower. */
export const classEmbedding = 'embeddings.class_embedding';

/** What stands before the names of a tower's tensors, such as `vision_model.`; one for each tower. */
export function towerPrefixes(names: readonly string[]): string[] {
  return prefixesOf(names, [classEmbedding]);
}

/** Of all names in a file those of the tower. */
export function towerNames(names: readonly string[]): string[] {
  return namesUnder(names, towerPrefixes(names));
}
