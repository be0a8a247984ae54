// The file of a video's features: what is in it, and what it must be to be used.
import { isFloat32Array, isInt32Array } from 'node:util/types';
import * as v from 'valibot';
import { LongVLMError, messageOf } from '../base/errors.js';
import { parseJsonText } from '../base/json.js';
import { checkAllFinite, narrowed, widened } from '../base/largeTensor.js';
import { readOptions } from '../base/options.js';
import { resizes } from '../base/resize.js';
import { finiteNumber, integer, jsonObject, nonEmptyString, parse, positiveNumber } from '../base/schema.js';
import type { Float32Tensor } from '../base/tensor.js';
import { checkFloat32Tensor, checkObject, checkString, wrongType, wrongValue } from '../base/validate.js';
import { version } from '../base/version.js';
import { checkReplacing } from '../base/wholeFile.js';
import {
  openSafetensors,
  readFloatTensor,
  readTensor,
  type TensorData,
  tensorData,
  writeSafetensors,
} from '../files/safetensors.js';
import type { TensorLocation, WeightFile } from '../files/tensorFile.js';
import type { ReductionReport } from '../kernels/index.js';
import type { ReductionOptions } from '../reduce/options.js';
import { checkOwners, ownersData } from './owners.js';
import { checkPositions, type TokenGrid, tokensOf } from './runs.js';
import type { Sampling } from './sampling.js';

const formatName = 'longvlm.features';
const formatVersion = '1';

/** How the header of every features file begins. */
export const featuresBeginning = `{"__metadata__":{"format":"${formatName}"`;

/** Element type of local and global tokens in a file. */
export type FeaturesType = 'float32' | 'float16';

/** Properties of the encoded video. */
export type VideoSource = {
  /** Name of the file without its folder, or of the URL; `video` or `pictures` for inputs without a name. */
  readonly name: string;
  readonly durationSeconds: number;
  readonly frameCount: number;
  /** Pixels, as displayed. */
  readonly width: number;
  readonly height: number;
  /** Problems of a file that could still be read, in sentences. */
  readonly warnings: readonly string[];
};

/** Arguments of the {@link VideoFeatures} constructor. */
export type VideoFeaturesInit = {
  local: Float32Tensor;
  global: Float32Tensor;
  sizes: Float32Tensor;
  timestamps: Float32Array;
  /** [segments · tokensPerSegment]: for tokens that have places in `grid`, these, ascending in each segment. */
  positions?: Int32Array | undefined;
  /** [segments · tokens of `grid`]: for each of these the index of the token of its segment that it went into, or -1. */
  owners?: Int32Array | undefined;
  /** The tokens of a segment before it was reduced. */
  grid?: TokenGrid | undefined;
  /** What a reducer of whole videos did. */
  report?: ReductionReport | undefined;
  sampling: Sampling;
  tower: string;
  /** Identity of the projector, if the tokens are its output. */
  projector?: string | undefined;
  source: VideoSource;
};

const initNames = [
  ...(['local', 'global', 'sizes', 'timestamps', 'positions', 'owners', 'grid', 'report'] as const),
  ...(['sampling', 'tower', 'projector', 'source'] as const),
] as const;

// 4 GiB, a hundred times what a language model can take.
const maxValues = 2 ** 30;
const maxPlaces = 2 ** 31 - 1;
// ffmpeg rounds the start of a video, from which times count.
const earliest = -1e-3;
// Warnings have some hundred characters each.
const maxRecordLength = 2 ** 20;

const seconds = v.pipe(finiteNumber, v.minValue(0, 'number of at least 0'));

const samplingRecord = v.object({
  frames: integer(1),
  segmentFrames: integer(1),
  tokensPerSegment: integer(1),
  globalLayers: integer(0),
  resize: v.picklist(resizes),
  // Older files have no `reduction`: `merge` was the only one.
  reduction: v.optional(nonEmptyString, 'merge'),
  reductionOptions: v.optional(
    v.pipe(jsonObject, v.record(v.string(), v.union([finiteNumber, v.string(), v.boolean()]))),
  ),
  mergeHeads: v.optional(integer(1)),
  start: v.optional(seconds),
  end: v.optional(seconds),
  fps: v.optional(positiveNumber),
});

const gridRecord = v.object({ steps: integer(1), rows: integer(1), columns: integer(1) });

const counts = v.array(integer(0));

const reportRecord = v.object({
  method: nonEmptyString,
  inputTokens: integer(0),
  tokens: integer(0),
  picked: integer(0),
  merged: integer(0),
  dropped: integer(0),
  tokensOfFrames: counts,
  segments: v.optional(counts),
  changed: v.boolean(),
  text: v.string(),
});

const sourceRecord = v.object({
  name: v.string(),
  durationSeconds: seconds,
  frameCount: integer(1),
  width: integer(1),
  height: integer(1),
  warnings: v.array(v.string()),
});

/**
 * Checks that features are whole, and that their parts fit each other.
 * @returns what was checked, read once
 * @throws TypeError or RangeError
 */
export function checkFeatures(features: VideoFeaturesInit): VideoFeaturesInit {
  const given = readOptions(checkObject('features', features), initNames);
  const { tower, projector, timestamps, positions, owners } = given;
  const sampling = parse(v.pipe(jsonObject, samplingRecord), given.sampling, 'sampling', 'sampling.');
  const source = parse(v.pipe(jsonObject, sourceRecord), given.source, 'source', 'source.');
  const grid = given.grid && parse(v.pipe(jsonObject, gridRecord), given.grid, 'grid', 'grid.');
  const report = given.report && parse(v.pipe(jsonObject, reportRecord), given.report, 'report', 'report.');
  checkString('tower', tower);
  if (projector !== undefined) checkString('projector', projector);
  const { frames, segmentFrames, tokensPerSegment, globalLayers, start, end } = sampling;
  if (frames % segmentFrames !== 0) wrongValue('frames', `multiple of segmentFrames (${segmentFrames})`, frames);
  if (start !== undefined && end !== undefined && end < start)
    wrongValue('end', `number of at least start (${start})`, end);
  const segments = frames / segmentFrames;
  const local = checkFloat32Tensor('local', given.local, [segments, tokensPerSegment, 'channels']);
  const channels = local.dims[2]!;
  if (channels === 0) wrongValue('local.dims[2]', 'positive integer', 0);
  const global = checkFloat32Tensor('global', given.global, [globalLayers, channels]);
  const sizes = checkFloat32Tensor('sizes', given.sizes, [segments, tokensPerSegment]);
  if (!isFloat32Array(timestamps)) wrongType('timestamps', 'Float32Array', timestamps);
  if (timestamps.length !== frames) wrongValue('timestamps.length', String(frames), timestamps.length);
  if (grid) checkGrid(grid, sampling);
  if (positions !== undefined) {
    if (!isInt32Array(positions)) wrongType('positions', 'Int32Array', positions);
    if (grid === undefined) wrongType('grid', 'object, as positions are given,', grid);
    checkPositions('positions', positions, { segments, count: tokensPerSegment, places: tokensOf(grid) });
  }
  if (owners !== undefined) checkOwners(owners, grid, { segments, count: tokensPerSegment });
  return { local, global, sizes, timestamps, positions, owners, grid, report, sampling, tower, projector, source };
}

function checkGrid(grid: TokenGrid, { segmentFrames, tokensPerSegment }: Sampling): void {
  if (segmentFrames % grid.steps !== 0)
    wrongValue('grid.steps', `divisor of segmentFrames (${segmentFrames})`, grid.steps);
  // As indices of 32 bits.
  if (tokensOf(grid) > maxPlaces) wrongValue('tokens of grid', `number of at most ${maxPlaces}`, tokensOf(grid));
  if (tokensPerSegment > tokensOf(grid))
    wrongValue('tokensPerSegment', `number of at most the tokens of grid (${tokensOf(grid)})`, tokensPerSegment);
}

/**
 * Writes features, in the place of whatever is there.
 * @throws LongVLMError `ERR_LONGVLM_FILE`; RangeError when float16 cannot hold a value
 */
export async function writeFeatures(file: string, features: VideoFeaturesInit, type: FeaturesType = 'float32') {
  const stored = async (name: string, tensor: Float32Tensor): Promise<TensorData> =>
    tensorData(type === 'float16' ? await narrowed(name, tensor) : tensor);
  const { local, global, sizes, timestamps, positions, owners, tower, projector } = features;
  await writeSafetensors(
    file,
    {
      local: await stored('local', local),
      global: await stored('global', global),
      sizes: tensorData(sizes),
      timestamps: { type: 'F32', shape: [timestamps.length], data: timestamps },
      ...(positions && { positions: { type: 'I32' as const, shape: sizes.dims, data: positions } }),
      ...(owners && { owners: ownersData(owners, sizes.dims) }),
    },
    {
      format: formatName,
      format_version: formatVersion,
      longvlm_version: version,
      tower,
      ...(projector !== undefined && { projector }),
      ...recordsOf(features),
    },
  );
}

type Records = Pick<VideoFeaturesInit, 'sampling' | 'source' | 'grid' | 'report'>;

function recordsOf({ sampling, source, grid, report }: Records) {
  return {
    sampling: JSON.stringify(sampling),
    video: JSON.stringify(source),
    ...(grid && { grid: JSON.stringify(grid) }),
    ...(report && { report: JSON.stringify(report) }),
  };
}

/** As {@link writeFeatures}, but replaces nothing except features. */
export async function saveFeatures(file: string, features: VideoFeaturesInit, type: FeaturesType): Promise<void> {
  // What reading refuses is not written.
  for (const [name, { length }] of Object.entries(recordsOf(features)))
    if (length > maxRecordLength)
      throw new RangeError(
        `Expected at most ${maxRecordLength} characters for the ${name} of features to save but received ${length}`,
      );
  await checkFeaturesOutput(file);
  await writeFeatures(file, features, type);
}

/**
 * Checks that features may take a file's place: there is none, it is empty, or it holds features.
 * @throws LongVLMError `ERR_LONGVLM_FILE`
 */
export async function checkFeaturesOutput(file: string): Promise<void> {
  const isOne = (bytes: Buffer) => bytes.toString('latin1', 8) === featuresBeginning;
  await checkReplacing(file, 'video features', 8 + featuresBeginning.length, isOne);
}

/** Reads and checks what {@link writeFeatures} wrote. @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS` */
export async function readFeatures(file: string): Promise<VideoFeaturesInit> {
  const opened = await openSafetensors(file);
  const { metadata } = opened;
  if (metadata.format !== formatName)
    throw damaged(file, 'holds no video features', 'Make it with `longvlm encode` or VideoFeatures.save().');
  if (metadata.format_version !== formatVersion)
    throw damaged(
      file,
      `is of format version ${withoutControls(metadata.format_version ?? 'none')}, and this release reads ${formatVersion}`,
    );
  const sampling = readSampling(file, metadata);
  const source = parseRecord(file, metadata, 'video', sourceRecord);
  const { frames, segmentFrames, tokensPerSegment, globalLayers } = sampling;
  const segments = frames / segmentFrames;
  const channels = opened.tensors.get('local')?.shape[2] ?? 0;
  const grid = metadata.grid === undefined ? undefined : parseRecord(file, metadata, 'grid', gridRecord);
  const features = {
    local: await readShaped(opened, 'local', [segments, tokensPerSegment, channels]),
    global: await readShaped(opened, 'global', [globalLayers, channels]),
    sizes: await readShaped(opened, 'sizes', [segments, tokensPerSegment]),
    timestamps: (await readShaped(opened, 'timestamps', [frames])).data,
    positions: await readIndices(opened, 'positions', ['I32'], [segments, tokensPerSegment]),
    owners: grid && (await readIndices(opened, 'owners', ['I32', 'I16'], [segments, tokensOf(grid)])),
    grid,
    report: metadata.report === undefined ? undefined : readReport(file, metadata),
    sampling,
    tower: withoutControls(metadata.tower ?? ''),
    projector: metadata.projector === undefined ? undefined : withoutControls(metadata.projector),
    source: { ...source, name: withoutControls(source.name), warnings: source.warnings.map(withoutControls) },
  };
  if (features.sizes.data.some((size) => size < 0)) throw damaged(file, "holds a negative number in 'sizes'");
  if (features.timestamps.some((time, index, all) => time < (all[index - 1] ?? earliest)))
    throw damaged(file, "holds times in 'timestamps' that do not ascend from 0");
  try {
    checkFeatures(features);
  } catch (error) {
    throw damaged(file, `holds features that cannot be (${messageOf(error)})`);
  }
  return features;
}

/** What a stranger wrote may be printed: without what moves the cursor or turns the direction of text. */
function withoutControls(text: string): string {
  return text.replace(/[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+/gu, ' ');
}

function damaged(file: string, cause: string, remedy = 'Encode the video again.'): LongVLMError {
  return new LongVLMError('ERR_LONGVLM_WEIGHTS', `${file} ${cause}. ${remedy}`);
}

/** Parses a JSON record of the metadata. */
function parseRecord<const Schema extends v.GenericSchema>(
  file: string,
  metadata: Readonly<Record<string, string>>,
  key: string,
  schema: Schema,
): v.InferOutput<Schema> {
  const text = metadata[key] ?? 'null';
  if (text.length > maxRecordLength)
    throw damaged(
      file,
      `has ${text.length} characters for '${key}' in its metadata, above the limit of ${maxRecordLength}`,
    );
  try {
    return parse(schema, parse(jsonObject, parseJsonText(text), key), key, `${key}.`);
  } catch (error) {
    throw damaged(file, `has no readable '${key}' in its metadata (${withoutControls(messageOf(error))})`);
  }
}

function readSampling(file: string, metadata: Readonly<Record<string, string>>): Sampling {
  const read = parseRecord(file, metadata, 'sampling', samplingRecord);
  const { mergeHeads, start, end, fps, reductionOptions, ...sampling } = read;
  if (sampling.frames % sampling.segmentFrames !== 0)
    throw damaged(file, `has ${sampling.frames} frames in segments of ${sampling.segmentFrames} in its metadata`);
  return {
    ...sampling,
    reduction: withoutControls(sampling.reduction),
    ...(reductionOptions && { reductionOptions: printableOptions(reductionOptions) }),
    ...(mergeHeads !== undefined && { mergeHeads }),
    ...(start !== undefined && { start }),
    ...(end !== undefined && { end }),
    ...(fps !== undefined && { fps }),
  };
}

function printableOptions(options: ReductionOptions): ReductionOptions {
  const printable = (value: ReductionOptions[string]) => (typeof value === 'string' ? withoutControls(value) : value);
  return Object.fromEntries(Object.entries(options).map(([key, value]) => [withoutControls(key), printable(value)]));
}

function readReport(file: string, metadata: Readonly<Record<string, string>>): ReductionReport {
  const { segments, ...report } = parseRecord(file, metadata, 'report', reportRecord);
  const [method, text] = [report.method, report.text].map(withoutControls) as [string, string];
  return { ...report, ...(segments && { segments }), method, text };
}

async function readShaped(file: WeightFile, name: string, shape: readonly number[]): Promise<Float32Tensor> {
  const tensor = await widened(await readFloatTensor(locate(file, name, shape)));
  await checkAllFinite(`'${name}' in ${file.path}`, tensor, 'Encode the video again.');
  return tensor;
}

async function readIndices(
  file: WeightFile,
  name: string,
  types: readonly string[],
  shape: readonly number[],
): Promise<Int32Array | undefined> {
  if (!file.tensors.has(name)) return undefined;
  const location = locate(file, name, shape);
  if (!types.includes(location.type))
    throw damaged(
      file.path,
      `has type ${withoutControls(location.type)} for '${name}' where ${types.join(' or ')} is due`,
    );
  return Int32Array.from((await readTensor(location)) as Int32Array | Int16Array);
}

function locate(file: WeightFile, name: string, shape: readonly number[]): TensorLocation {
  const location = file.tensors.get(name);
  if (location === undefined) throw damaged(file.path, `has no tensor '${name}'`);
  const found = location.shape.slice(0, 8).join(', ') + (location.shape.length > 8 ? ', ...' : '');
  if (location.shape.length !== shape.length || location.shape.some((size, axis) => size !== shape[axis]))
    throw damaged(file.path, `has shape [${found}] for '${name}' where [${shape.join(', ')}] is due`);
  const values = shape.reduce((product, size) => product * size, 1);
  if (values > maxValues)
    throw damaged(file.path, `has ${values} values in '${name}', above the limit of ${maxValues}`);
  return location;
}
