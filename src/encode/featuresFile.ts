// The file of a video's features.
import type * as v from 'valibot';
import { LongVLMError, messageOf } from '../base/errors.js';
import { parseJsonText } from '../base/json.js';
import { checkAllFinite, narrowed, widened } from '../base/largeTensor.js';
import { jsonObject, parse } from '../base/schema.js';
import type { Float32Tensor, Tensor } from '../base/tensor.js';
import { version } from '../base/version.js';
import { checkReplacing } from '../base/wholeFile.js';
import {
  type HeldTensorData,
  openSafetensors,
  parseSafetensors,
  readFloatTensor,
  readTensor,
  readTensorIn,
  type SafetensorsFile,
  safetensorsBytes,
  tensorData,
  writeSafetensors,
} from '../files/safetensors.js';
import type { TensorLocation, WeightFile } from '../files/tensorFile.js';
import type { ReductionReport } from '../kernels/index.js';
import type { ReductionOptions } from '../reduce/options.js';
import {
  checkFeatures,
  gridRecord,
  reportRecord,
  samplingRecord,
  sourceRecord,
  type VideoFeaturesInit,
} from './featuresInit.js';
import { ownersData } from './owners.js';
import { tokensOf } from './runs.js';
import type { Sampling } from './sampling.js';

/** What a file of features says that it is. */
export const formatName = 'longvlm.features';
const formatVersion = '1';

/** How the header of every features file begins. */
export const featuresBeginning = `{"__metadata__":{"format":"${formatName}"`;

/** Element type of local and global tokens in a file. */
export type FeaturesType = 'float32' | 'float16';

// 4 GiB, a hundred times what a language model can take.
const maxValues = 2 ** 30;
// ffmpeg rounds the start of a video, from which times count.
const earliest = -1e-3;
// Warnings have some hundred characters each.
const maxRecordLength = 2 ** 20;

/**
 * Writes features, in the place of whatever is there.
 * @throws LongVLMError `ERR_LONGVLM_FILE`; RangeError when float16 cannot hold a value
 */
export async function writeFeatures(file: string, features: VideoFeaturesInit, type: FeaturesType = 'float32') {
  await writeSafetensors(file, tensorsOf(features, await tokensAs(type, features)), metadataOf(features));
}

/**
 * The bytes of the file that {@link writeFeatures} writes.
 * @param tokens local and global tokens to store. Defaults to the features' own.
 * @throws RangeError for what {@link parseFeatures} would refuse
 */
export function featuresBytes(features: VideoFeaturesInit, tokens: StoredTokens = features): Uint8Array<ArrayBuffer> {
  checkRecords(features);
  return safetensorsBytes(tensorsOf(features, tokens), metadataOf(features));
}

type StoredTokens = { readonly local: Tensor; readonly global: Tensor };

/** Local and global tokens of a type. @throws RangeError when float16 cannot hold a value */
export async function tokensAs(type: FeaturesType, { local, global }: VideoFeaturesInit): Promise<StoredTokens> {
  if (type === 'float32') return { local, global };
  return { local: await narrowed('local', local), global: await narrowed('global', global) };
}

function tensorsOf(
  { sizes, timestamps, positions, owners }: VideoFeaturesInit,
  { local, global }: StoredTokens,
): Record<string, HeldTensorData> {
  return {
    local: tensorData(local),
    global: tensorData(global),
    sizes: tensorData(sizes),
    timestamps: { type: 'F32', shape: [timestamps.length], data: timestamps },
    ...(positions && { positions: { type: 'I32' as const, shape: sizes.dims, data: positions } }),
    ...(owners && { owners: ownersData(owners, sizes.dims) }),
  };
}

function metadataOf(features: VideoFeaturesInit) {
  const { tower, projector } = features;
  return {
    format: formatName,
    format_version: formatVersion,
    longvlm_version: version,
    tower,
    ...(projector !== undefined && { projector }),
    ...recordsOf(features),
  };
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
  checkRecords(features);
  await checkFeaturesOutput(file);
  await writeFeatures(file, features, type);
}

/** What reading refuses is not written. */
function checkRecords(features: VideoFeaturesInit): void {
  for (const [name, { length }] of Object.entries(recordsOf(features)))
    if (length > maxRecordLength)
      throw new RangeError(
        `Expected at most ${maxRecordLength} characters for the ${name} of features to save but received ${length}`,
      );
}

/**
 * Checks that features may take a file's place: there is none, it is empty, or it holds features.
 * @throws LongVLMError `ERR_LONGVLM_FILE`
 */
export async function checkFeaturesOutput(file: string): Promise<void> {
  await checkReplacing(file, 'video features', 8 + featuresBeginning.length, isFeatures);
}

/** Whether bytes begin as a file of features does. */
export function isFeatures(bytes: Uint8Array): boolean {
  const beginning = bytes.subarray(8, 8 + featuresBeginning.length);
  return Buffer.from(beginning).toString('latin1') === featuresBeginning;
}

/** Reads and checks what {@link writeFeatures} wrote. @throws LongVLMError `ERR_LONGVLM_FILE`, `ERR_LONGVLM_WEIGHTS` */
export async function readFeatures(file: string): Promise<VideoFeaturesInit> {
  return featuresIn(await openSafetensors(file), readTensor);
}

/**
 * The same of such a file's bytes. The features are copies.
 * @param name what errors call them
 */
export async function parseFeatures(bytes: Uint8Array, name: string): Promise<VideoFeaturesInit> {
  const opened = await parseSafetensors(name, bytes);
  return featuresIn(opened, (location) => readTensorIn(bytes, location));
}

type ReadTensor = typeof readTensor;

async function featuresIn(opened: SafetensorsFile, read: ReadTensor): Promise<VideoFeaturesInit> {
  const { metadata, path: file } = opened;
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
  const shaped = (name: string, shape: readonly number[]) => readShaped(opened, read, name, shape);
  const features = {
    local: await shaped('local', [segments, tokensPerSegment, channels]),
    global: await shaped('global', [globalLayers, channels]),
    sizes: await shaped('sizes', [segments, tokensPerSegment]),
    timestamps: (await shaped('timestamps', [frames])).data,
    positions: await readIndices(opened, read, 'positions', ['I32'], [segments, tokensPerSegment]),
    owners: grid && (await readIndices(opened, read, 'owners', ['I32', 'I16'], [segments, tokensOf(grid)])),
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
  const { segments, attention, ...report } = parseRecord(file, metadata, 'report', reportRecord);
  const [method, text] = [report.method, report.text].map(withoutControls) as [string, string];
  return { ...report, ...(segments && { segments }), ...(attention && { attention }), method, text };
}

async function readShaped(
  file: WeightFile,
  read: ReadTensor,
  name: string,
  shape: readonly number[],
): Promise<Float32Tensor> {
  const tensor = await widened(await readFloatTensor(locate(file, name, shape), read));
  await checkAllFinite(`'${name}' in ${file.path}`, tensor, 'Encode the video again.');
  return tensor;
}

async function readIndices(
  file: WeightFile,
  read: ReadTensor,
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
  return Int32Array.from((await read(location)) as Int32Array | Int16Array);
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
