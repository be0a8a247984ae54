// How Hugging Face names the tensors of a CLIP tower, in files that may hold others, too.

/** The first tensor of a tower. */
export const classEmbedding = 'embeddings.class_embedding';

/** What stands before the names of a tower's tensors, such as `vision_model.`; undefined where there is no tower. */
export function towerPrefix(names: Iterable<string>): string | undefined {
  for (const name of names)
    if (name === classEmbedding || name.endsWith(`.${classEmbedding}`)) return name.slice(0, -classEmbedding.length);
  return undefined;
}

/** Of all names in a file those of the tower. */
export function towerNames(names: readonly string[]): string[] {
  const prefix = towerPrefix(names);
  return prefix === undefined ? [] : names.filter((name) => name.startsWith(prefix));
}
