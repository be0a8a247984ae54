// Which of a repository's GGUF files a reference means.
import { LongVLMError } from '../../base/errors.js';
import { splitPart } from './splitPart.js';

/** What a GGUF file is for. */
export type GgufRole = 'projector' | 'llm';

/**
 * Quantisations without a preference of the user, best first: the usual compromise of size and quality, then what is larger.
 * Fewer than 4 bits are the user's choice, unless there is nothing else.
 */
const preferred: Readonly<Record<GgufRole, readonly string[]>> = {
  llm: [
    ...['Q4_K_M', 'Q4_K', 'Q4_K_XL', 'Q4_K_L', 'Q4_K_S', 'IQ4_NL', 'IQ4_XS', 'MXFP4', 'Q4_1', 'Q4_0'],
    ...['Q5_K_M', 'Q5_K', 'Q5_K_XL', 'Q5_K_L', 'Q5_K_S', 'Q5_1', 'Q5_0', 'Q6_K', 'Q6_K_L', 'Q6_K_XL'],
    ...['Q8_0', 'Q8_K_XL', 'F16', 'BF16', 'F32'],
  ],
  projector: ['F16', 'BF16', 'F32', 'Q8_0', 'Q6_K', 'Q5_K_M', 'Q5_K', 'Q5_1', 'Q5_0', 'Q4_K_M', 'Q4_K', 'Q4_1', 'Q4_0'],
};

const quantizationPattern =
  /(?<=^|[-._])(?:UD[-_])?(B?F16|FP16|BF16|F32|FP32|MXFP4|I?T?Q_?\d(?:_[0-9KMSLX][A-Z]*)*)(?=$|[-._])/gi;

const maxListed = 30;
/** More than any repository has of one role. */
const maxNames = 5000;

/** A model in a repository: one file, or the parts of one. */
type Candidate = {
  /** The first part. */
  readonly file: string;
  readonly files: readonly string[];
  /** Such as `Q4_K_M`; undefined if the name says none. */
  readonly quantization: string | undefined;
  /** The name without quantisation: equal for one model's quantisations. */
  readonly model: string;
};

/**
 * The files of the model with that role, in the order of their parts; undefined if the repository has none.
 *
 * @param files all names in the repository
 * @param quantization the user's choice, such as `Q4_K_M`, in upper or lower case
 * @throws LongVLMError `ERR_LONGVLM_HUB` if several models, or several files in that quantisation, are there: it names them
 */
export function chooseGguf(
  files: readonly string[],
  role: GgufRole,
  repo: string,
  quantization: string | undefined,
): readonly string[] | undefined {
  const named = namesFor(files, role);
  if (named.length > maxNames) return refuse(named, repo);
  const candidates = candidatesFor(named);
  const wanted = quantization === undefined ? undefined : normalized(quantization);
  const fitting = wanted === undefined ? candidates : candidates.filter((one) => one.quantization === wanted);
  if (fitting.length === 0) {
    // A part of a name that is no quantisation, as in an unusual name of a file.
    const others = wanted === undefined ? [] : candidates.filter(({ file }) => hasPart(file, quantization!));
    if (others.length === 0) return undefined;
    return others.length === 1 ? others[0]!.files : refuse(namesOf(others), repo);
  }
  if (fitting.length === 1) return fitting[0]!.files;
  if (new Set(fitting.map(({ model }) => model)).size > 1) return refuse(namesOf(fitting), repo);
  const rank = ({ quantization: one }: Candidate) => (one === undefined ? -1 : preferred[role].indexOf(one));
  const ranked = fitting.filter((one) => rank(one) >= 0).sort((a, b) => rank(a) - rank(b));
  const [best, next] = ranked;
  if (best === undefined || (next && rank(next) === rank(best))) return refuse(namesOf(fitting), repo);
  return best.files;
}

/** The names of the candidates, for the error that there is none. */
export function candidateNames(files: readonly string[], role: GgufRole): string[] {
  return namesOf(candidatesFor(namesFor(files, role)));
}

/** Names in one line; many are cut short. */
export function listed(names: readonly string[]): string {
  const rest = names.length - maxListed;
  return names.slice(0, maxListed).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}

/** The files with a role, all parts of them. */
function namesFor(files: readonly string[], role: GgufRole): string[] {
  return files.filter(
    (file) =>
      /\.gguf$/i.test(file) && !/imatrix/i.test(file) && /mmproj|clip-model/i.test(file) === (role === 'projector'),
  );
}

const namesOf = (candidates: readonly Candidate[]) => candidates.map(({ file }) => file);

function candidatesFor(ofRole: readonly string[]): Candidate[] {
  const partsOf = new Map<string, string[]>();
  for (const file of ofRole) {
    const start = splitPart(file)?.start;
    if (start === undefined) continue;
    const parts = partsOf.get(start) ?? [];
    parts.push(file);
    partsOf.set(start, parts);
  }
  return ofRole.flatMap((file) => {
    const part = splitPart(file);
    if (part && part.number !== 1) return [];
    const name = (part ? part.start.slice(0, -1) : file.slice(0, -'.gguf'.length)).split('/').at(-1)!;
    const marks = [...name.matchAll(quantizationPattern)];
    // A name may tell what a file was made from, too: model-f16-q4_k_m.
    const last = marks.at(-1);
    const model = name
      .replace(quantizationPattern, '')
      .replace(/[-._]+/g, '-')
      .replace(/^-|-$/g, '')
      .toLowerCase();
    const parts = part ? partsOf.get(part.start)!.sort() : [file];
    return [{ file, files: parts, quantization: last && normalized(last[0]), model }];
  });
}

function normalized(quantization: string): string {
  return quantization
    .toUpperCase()
    .replace(/^UD[-_]/, '')
    .replace(/^FP/, 'F')
    .replace(/Q_(?=\d)/, 'Q');
}

function hasPart(file: string, part: string): boolean {
  const escaped = part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`(^|[-._/])${escaped}([-._]|$)`, 'i').test(file);
}

function refuse(names: readonly string[], repo: string): never {
  throw new LongVLMError(
    'ERR_LONGVLM_HUB',
    `${repo} holds several models that may be meant: ${listed(names)}. Name one: hf:${repo}/${names[0]}.`,
  );
}
