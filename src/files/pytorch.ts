// Files of torch.save: a zip archive with a pickle of names and shapes, and an uncompressed record for each storage; from
// before PyTorch 1.6, several pickles, and then the storages.

import type { FileHandle } from 'node:fs/promises';
import { types } from 'node:util';
import { LongVLMError, messageOf } from '../base/errors.js';
import { Pace } from '../base/pace.js';
import { openRegularFile } from '../base/regularFile.js';
import { elementCount } from '../base/tensor.js';
import { PickleEnds, PickleError, type PickleValue, unpickle } from './pickle.js';
import {
  bytesPerElement,
  maxTensors,
  readBytes,
  type TensorLocation,
  type WeightFile,
  weightsError,
} from './tensorFile.js';
import { isContiguous, SavedTensor, type Storage, spanOf, type TensorView, TorchWorld } from './torchObjects.js';
import { foreignFileError, headBytes, weightFormat } from './whatIsThis.js';
import { readZipRecords, recordStart, type ZipRecord } from './zip.js';

/** The tensors of a file of torch.save. Names in nested dicts are joined by dots. */
export type PytorchFile = WeightFile & { readonly format: 'pytorch' };

const maxPickleBytes = 64 << 20;
const firstReadBytes = 1 << 20;
const maxVisits = 2_000_000;
const maxNameLength = 1000;
const maxDepth = 32;
/** Of copies of tensors in strides, beyond the file's size. */
const spareBytes = 64 << 20;
const distrust = 'Get the weights from a source that you trust.';

/**
 * Reads the locations of the tensors in a file of torch.save; the tensors stay on disk. The file's pickle can build tensors
 * and nothing else.
 *
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the file cannot be read; `ERR_LONGVLM_WEIGHTS` when it is damaged, asks for
 * anything that `torch.load(weights_only=True)` does not take, or holds no tensors.
 */
export async function openPytorch(path: string): Promise<PytorchFile> {
  const handle = await openRegularFile(path);
  try {
    const fileBytes = (await handle.stat()).size;
    const head = Buffer.from(await readBytes(handle, path, 0, Math.min(headBytes, fileBytes)));
    const isArchive = weightFormat(head) !== 'pickle';
    const foreign = isArchive && foreignFileError(path, head, 'zip');
    if (foreign) throw foreign;
    const file = new OpenFile(path, handle, fileBytes);
    const { root, places } = await (isArchive ? file.readArchive() : file.readPickles());
    const tensors = await file.locate(await collect(path, root), places);
    if (tensors.size === 0) throw weightsError(path, 'it holds no tensors', 'Give the weights of a model.');
    return { format: 'pytorch', path, tensors };
  } catch (error) {
    if (error instanceof PickleError) throw weightsError(path, error.message, distrust);
    throw error;
  } finally {
    await handle.close();
  }
}

/** Where a storage lies. */
type Place = { readonly offset: number; readonly byteLength: number };
type Places = (storage: Storage) => Promise<Place>;
type Contents = { readonly root: PickleValue; readonly places: Places };

class OpenFile {
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #fileBytes: number;

  constructor(path: string, handle: FileHandle, fileBytes: number) {
    this.#path = path;
    this.#handle = handle;
    this.#fileBytes = fileBytes;
  }

  async readArchive(): Promise<Contents> {
    const records = await this.#zip(() => readZipRecords(this.#handle));
    const pickle = [...records.keys()].find((name) => /^([^/]+\/)?data\.pkl$/.test(name));
    if (pickle === undefined) throw this.#otherArchive([...records.keys()]);
    const folder = pickle.slice(0, -'data.pkl'.length);
    if (records.has(`${folder}constants.pkl`))
      throw weightsError(this.#path, 'it is a TorchScript program', 'Save the state_dict() of the model instead.');
    const order = records.get(`${folder}byteorder`);
    if (order && new TextDecoder().decode(await this.#record(order)) !== 'little')
      throw weightsError(this.#path, 'saved on a machine of another byte order', 'Save it again on a common one.');
    const { value } = await unpickle(await this.#record(records.get(pickle)!), new TorchWorld());
    const known = new Map<ZipRecord, Place>();
    const places = async ({ key }: Storage) => {
      const record = records.get(`${folder}data/${key}`);
      if (!record?.stored) throw weightsError(this.#path, `damaged: record data/${key} is missing or compressed`);
      const place = known.get(record) ?? (await this.#placeOf(record));
      known.set(record, place);
      return place;
    };
    return { root: value, places };
  }

  // Number, version, system, then the root, then the keys of the storages; each storage begins with its length.
  async readPickles(): Promise<Contents> {
    const world = new TorchWorld();
    const { root, keys, end } = await this.#pickles(world);
    if (!Array.isArray(keys) || keys.length > maxTensors) throw new PickleError('its pickle is damaged');
    const offsets = new Map(keys.map((key, index) => [key, index]));
    const places: Place[] = [];
    const sizes = world.elementBytes;
    const pace = new Pace();
    let offset = end;
    for (const key of keys) {
      const bytes = typeof key === 'string' ? sizes.get(key) : undefined;
      if (bytes === undefined) throw new PickleError('its pickle has a storage that cannot be read');
      const length = Buffer.from(await readBytes(this.#handle, this.#path, offset, 8)).readBigUInt64LE(0);
      const byteLength = Number(length) * bytes;
      places.push({ offset: offset + 8, byteLength });
      offset += 8 + byteLength;
      if (offset > this.#fileBytes) throw weightsError(this.#path, `truncated: storage ${key} ends at byte ${offset}`);
      if (pace.isDue) await pace.rest();
    }
    return {
      root,
      places: async ({ key }) => {
        const index = offsets.get(key);
        if (index === undefined) throw weightsError(this.#path, `damaged: storage ${key} is missing`);
        return places[index]!;
      },
    };
  }

  // Their length is not known before they are read.
  async #pickles(world: TorchWorld): Promise<{ root: PickleValue; keys: PickleValue; end: number }> {
    for (let bytes = Math.min(firstReadBytes, this.#fileBytes); ; bytes = Math.min(8 * bytes, this.#fileBytes)) {
      const prefix = await readBytes(this.#handle, this.#path, 0, Math.min(bytes, maxPickleBytes));
      try {
        let end = 0;
        const next = async () => {
          const found = await unpickle(prefix, world, end);
          end = found.end;
          return found.value;
        };
        await next();
        await next();
        await next();
        const root = await next();
        const keys = await next();
        return { root, keys, end };
      } catch (error) {
        const isWhole = bytes === this.#fileBytes || bytes >= maxPickleBytes;
        if (!(error instanceof PickleEnds) || isWhole) throw error;
      }
    }
  }

  /** Adds to tensors where they lie. */
  async locate(found: ReadonlyMap<string, TensorView>, places: Places): Promise<Map<string, TensorLocation>> {
    const tensors = new Map<string, TensorLocation>();
    const pace = new Pace();
    // A small storage may be repeated without end, by a step of zero: copies would fill the disk.
    let copies = this.#fileBytes + spareBytes;
    for (const [name, view] of found) {
      if (pace.isDue) await pace.rest();
      const { type, shape, storage, start, strides } = view;
      const bytes = bytesPerElement(type);
      const unreadable = { name, type, shape, file: this.#path, offset: 0, byteLength: 0 };
      if (!storage || bytes === undefined) {
        tensors.set(name, unreadable);
        continue;
      }
      const { offset, byteLength } = await places(storage);
      const begin = storage.start * storage.elementBytes + start * bytes;
      const end = Math.min(byteLength, (storage.start + storage.elements) * storage.elementBytes);
      if (begin + spanOf(shape, strides) * bytes > end)
        throw weightsError(this.#path, `damaged: a tensor of shape [${shape.join(', ')}] goes beyond its storage`);
      const location = { ...unreadable, offset: offset + begin, byteLength: elementCount(shape) * bytes };
      if (isContiguous(view)) tensors.set(name, location);
      else {
        copies -= location.byteLength;
        const { type: ofElements } = location as { type: NonNullable<TensorLocation['view']>['type'] };
        const inStrides = copies >= 0 && { view: { type: ofElements, strides } };
        tensors.set(name, { ...location, type: `${type} in strides`, ...inStrides });
      }
    }
    return tensors;
  }

  async #placeOf(record: ZipRecord): Promise<Place> {
    const offset = await this.#zip(() => recordStart(this.#handle, record));
    return { offset, byteLength: record.byteLength };
  }

  async #record(record: ZipRecord): Promise<Uint8Array> {
    if (!record.stored)
      throw weightsError(this.#path, 'its zip archive is compressed', 'Give the file as torch.save wrote it.');
    const { offset, byteLength } = await this.#placeOf(record);
    if (byteLength > maxPickleBytes) throw weightsError(this.#path, `damaged: ${byteLength} bytes of names and shapes`);
    return readBytes(this.#handle, this.#path, offset, byteLength);
  }

  async #zip<T>(read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      if (error instanceof LongVLMError) throw error;
      throw weightsError(this.#path, `damaged, its zip archive cannot be read: ${messageOf(error)}`);
    }
  }

  #otherArchive(names: readonly string[]): LongVLMError {
    const is = names.every((name) => name.endsWith('.npy'))
      ? 'it holds arrays of NumPy (.npz)'
      : names.includes('model.weights.h5')
        ? 'it is a model of Keras'
        : 'a zip archive that holds no data.pkl';
    const packed = names.find((name) => /\.(safetensors|gguf|bin|pth?|ckpt)$/.test(name));
    const remedy = packed === undefined ? 'Give a file that torch.save wrote.' : `Unpack it, and give ${packed} in it.`;
    return weightsError(this.#path, is, remedy);
  }
}

/**
 * The tensors of nested dicts, by their names joined by dots. The entries are counted, because a hostile pickle can reuse a
 * dict thousands of times.
 */
async function collect(path: string, root: PickleValue): Promise<Map<string, TensorView>> {
  const tensors = new Map<string, TensorView>();
  if (root instanceof SavedTensor) tensors.set('', root.view);
  const waiting: { prefix: string; dict: PickleValue; depth: number }[] = [{ prefix: '', dict: root, depth: 0 }];
  const pace = new Pace();
  let visits = 0;
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { prefix, dict, depth } = next;
    if (!types.isMap(dict)) continue;
    if (depth > maxDepth) throw weightsError(path, `it has dicts in dicts, more than ${maxDepth}`, distrust);
    for (const [key, value] of dict) {
      if (++visits > maxVisits) throw weightsError(path, `it has more than ${maxVisits} entries`, distrust);
      if (visits % 1024 === 0 && pace.isDue) await pace.rest();
      if (!(value instanceof SavedTensor) && !types.isMap(value)) continue;
      const name = prefix + key;
      if (name.length > maxNameLength) throw weightsError(path, `it has a name of ${name.length} characters`, distrust);
      if (types.isMap(value)) waiting.push({ prefix: `${name}.`, dict: value, depth: depth + 1 });
      else if (tensors.get(name) === undefined) tensors.set(name, value.view);
      else if (tensors.get(name) !== value.view) throw weightsError(path, `tensor ${name} occurs twice`, distrust);
    }
    if (tensors.size > maxTensors) throw weightsError(path, `it has more than ${maxTensors} tensors`, distrust);
  }
  return tensors;
}
