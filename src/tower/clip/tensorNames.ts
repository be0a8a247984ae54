// How Hugging Face names the tensors of a CLIP tower, in files that may hold others, too.

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
