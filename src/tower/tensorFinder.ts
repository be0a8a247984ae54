// Finds a tower's tensors in a file by their names, and checks that they are all that it has.
import { LongVLMError } from '../base/errors.js';
import { requireTensor } from '../files/requireTensor.js';
import { type TensorLocation, type WeightFile, weightsError } from '../files/tensorFile.js';

/**
 * What stands before the names of a tower's tensors, such as `model.visual.`: one for each tower.
 * @param own names of the tower without it, all of which it has
 */
export function prefixesOf(names: readonly string[], own: readonly [string, ...string[]]): string[] {
  const [first, ...others] = own;
  const all = new Set(others.length > 0 ? names : []);
  return names
    .filter((name) => name === first || name.endsWith(`.${first}`))
    .map((name) => name.slice(0, -first.length))
    .filter((prefix) => others.every((name) => all.has(prefix + name)));
}

/** Of all names in a file those that begin with one of some prefixes. */
export function namesUnder(names: readonly string[], prefixes: readonly string[]): string[] {
  return names.filter((name) => prefixes.some((prefix) => name.startsWith(prefix)));
}

type Pair = { readonly weight: TensorLocation; readonly bias: TensorLocation };

/** Finds tensors that have a prefix in common. */
export type TensorFinder = {
  readonly tensor: (name: string, dims: readonly number[]) => TensorLocation;
  /** A pair of weight and bias; a bias has one value for each row of its weight. */
  readonly affine: (name: string, dims: readonly number[]) => Pair;
  /** Names of those that were asked for, prefix and all. */
  readonly used: Set<string>;
};

export function tensorFinder(file: WeightFile, prefix = ''): TensorFinder {
  const used = new Set<string>();
  const tensor = (name: string, dims: readonly number[]) => {
    used.add(prefix + name);
    return requireTensor(file, prefix + name, dims);
  };
  const affine = (name: string, dims: readonly number[]) => ({
    weight: tensor(`${name}.weight`, dims),
    bias: tensor(`${name}.bias`, dims.slice(0, 1)),
  });
  return { tensor, affine, used };
}

/**
 * Checks that no layer is missing, before anything is made of a number that may be any.
 * @param start of the names of layers' tensors, before the layer's number
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS`
 */
export function checkDepth(path: string, names: readonly string[], start: string, layers: number): void {
  const own = names.filter((name) => name.startsWith(start));
  const there = new Set(own.map((name) => name.slice(start.length, name.indexOf('.', start.length))));
  let found = 0;
  while (found < layers && there.has(String(found))) found++;
  if (found === layers) return;
  throw weightsError(
    path,
    `it has no layer ${found}, where its configuration asks for ${layers} layers`,
    'Use weights and configuration of the same model.',
  );
}

/**
 * Checks that a tower is computed with all of its tensors: with others it would be another tower.
 * @param kind of tower, such as `CLIP`
 * @param names of the tower's tensors, without what they have in common
 * @param used those that it is computed with
 * @param harmless matches those that its outputs do not depend on
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`, which names the first other tensor
 */
export function checkAllUsed(
  path: string,
  kind: string,
  names: readonly string[],
  used: ReadonlySet<string>,
  harmless: (name: string) => boolean,
): void {
  const other = names.find((name) => !used.has(name) && !harmless(name));
  if (other === undefined) return;
  throw new LongVLMError(
    'ERR_LONGVLM_UNSUPPORTED',
    `${path}: tensor ${other} is no part of a ${kind} vision tower as it is computed here, where ignoring it could give other features. Use a tower without it.`,
  );
}
