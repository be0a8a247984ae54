// How the tensors of a tower and of a projector are named in files that may hold others, too.

/** A CLIP tower's first tensor by Hugging Face's names. */
export const classEmbedding = 'embeddings.class_embedding';

/** What stands before the names of a CLIP tower's tensors, such as `vision_model.`; undefined where there is no tower. */
export function towerPrefix(names: Iterable<string>): string | undefined {
  for (const name of names)
    if (name === classEmbedding || name.endsWith(`.${classEmbedding}`)) return name.slice(0, -classEmbedding.length);
  return undefined;
}

/**
 * A tensor of a projector; its first group is the projector's own name: `mm` in an mmproj file, `multi_modal_projector` in
 * Hugging Face's own LLaVA.
 */
export const projectorName = /^(?:.+\.)?(mm_projector|mm|multi_modal_projector)\./;

/** Of all names in a file those of the tower or of the projector. */
export function namesOf(role: 'vision' | 'projector', names: readonly string[]): string[] {
  if (role === 'projector') return names.filter((name) => projectorName.test(name));
  const prefix = towerPrefix(names);
  return prefix === undefined ? [] : names.filter((name) => name.startsWith(prefix));
}
