// Files of torch.save: a zip archive with a pickle of names and shapes, and an uncompressed record for each storage.
import { messageOf } from '../base/errors.js';
import { elementCount } from '../base/tensor.js';
import { PickleError, type PickleValue, unpickle } from './pickle.js';
import {
  bytesPerElement,
  type ElementType,
  expectedBytes,
  openFile,
  readBytes,
  type TensorLocation,
  type WeightFile,
  weightsError,
} from './tensorFile.js';
import { readZipRecords, type ZipRecord } from './zip.js';

/** The tensors of a file of torch.save. Names in nested dicts are joined by dots. */
export type PytorchFile = WeightFile & { readonly format: 'pytorch' };

const storageTypes: Readonly<Record<string, ElementType>> = {
  DoubleStorage: 'F64',
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
};

const maxPickleBytes = 64 << 20;
const maxEntries = 100_000;
const distrust = 'Get the weights from a source that you trust.';

/**
 * Reads the locations of the tensors in a file of torch.save; the tensors stay on disk. The file's pickle can build tensors
 * and nothing else.
 *
 * @throws LongVLMError `ERR_LONGVLM_FILE` when the file cannot be read; `ERR_LONGVLM_WEIGHTS` when it is damaged, asks for
 * anything other than tensors, or holds no tensors.
 */
export async function openPytorch(path: string): Promise<PytorchFile> {
  const records = await readRecords(path);
  const pickle = [...records.keys()].find((name) => name === 'data.pkl' || name.endsWith('/data.pkl'));
  if (pickle === undefined)
    throw weightsError(path, 'a zip archive that holds no data.pkl', 'Give a file that torch.save wrote.');
  const folder = pickle.slice(0, -'data.pkl'.length);
  const order = records.get(`${folder}byteorder`);
  if (order && new TextDecoder().decode(await readRecord(path, order)) !== 'little')
    throw weightsError(path, 'saved on a machine of another byte order', 'Save it again on a common one.');
  const reader = new TensorReader(path, folder, records);
  const root = reader.read(await readRecord(path, records.get(pickle)!));
  const tensors = collect(path, root);
  if (tensors.size === 0) throw weightsError(path, 'it holds no tensors', 'Give the weights of a model.');
  return { format: 'pytorch', path, tensors };
}

async function readRecords(path: string): Promise<Map<string, ZipRecord>> {
  const handle = await openFile(path);
  try {
    return await readZipRecords(handle);
  } catch (error) {
    throw weightsError(path, `damaged, its zip archive cannot be read: ${messageOf(error).replace(/\.$/, '')}`);
  } finally {
    await handle.close();
  }
}

async function readRecord(path: string, { offset, byteLength, stored }: ZipRecord): Promise<Uint8Array> {
  if (!stored) throw weightsError(path, 'its zip archive is compressed', 'Give the file as torch.save wrote it.');
  if (byteLength > maxPickleBytes) throw weightsError(path, `damaged: ${byteLength} bytes of names and shapes`);
  const handle = await openFile(path);
  try {
    return await readBytes(handle, path, offset, byteLength);
  } finally {
    await handle.close();
  }
}

class StorageType {
  readonly kind = 'storage type';
  constructor(readonly name: string) {}
}

class Storage {
  readonly kind = 'storage';
  constructor(
    readonly type: string,
    readonly record: ZipRecord,
  ) {}
}

class SavedTensor {
  readonly kind = 'tensor';
  constructor(readonly location: Omit<TensorLocation, 'name'>) {}
}

type Builder = (args: readonly PickleValue[]) => PickleValue | undefined;

class Callable {
  readonly kind = 'callable';
  constructor(readonly call: Builder) {}
}

/** Builds tensors in place of the functions that torch.save's pickles call. */
class TensorReader {
  readonly #path: string;
  readonly #folder: string;
  readonly #records: ReadonlyMap<string, ZipRecord>;
  readonly #callables: Readonly<Record<string, Builder>> = {
    'collections.OrderedDict': () => new Map(),
    'torch._utils._rebuild_tensor_v2': (args) => this.#tensor(args),
    'torch._utils._rebuild_parameter': ([tensor]) => tensor,
  };

  constructor(path: string, folder: string, records: ReadonlyMap<string, ZipRecord>) {
    this.#path = path;
    this.#folder = folder;
    this.#records = records;
  }

  read(pickle: Uint8Array): PickleValue {
    try {
      return unpickle(pickle, {
        global: (module, name) => this.#global(module, name),
        persistent: (id) => this.#storage(id),
        call: (callee, args) => (callee instanceof Callable ? callee.call(args) : undefined),
      });
    } catch (error) {
      if (error instanceof PickleError) throw weightsError(this.#path, error.message, distrust);
      throw error;
    }
  }

  #global(module: string, name: string) {
    if (module === 'torch' && /^[A-Z]\w*Storage$/.test(name)) return new StorageType(name);
    const known = `${module}.${name}`;
    return Object.hasOwn(this.#callables, known) ? new Callable(this.#callables[known]!) : undefined;
  }

  // ('storage', type, key, device, elements)
  #storage(id: PickleValue): Storage {
    const [word, type, key] = Array.isArray(id) ? id : [];
    if (word !== 'storage' || !(type instanceof StorageType) || typeof key !== 'string')
      throw new PickleError('its pickle has a storage that cannot be read');
    const record = this.#records.get(`${this.#folder}data/${key}`);
    if (!record?.stored) throw weightsError(this.#path, `damaged: record data/${key} is missing or compressed`);
    return new Storage(storageTypes[type.name] ?? type.name, record);
  }

  // (storage, offset, shape, strides, …); offset and strides count elements.
  #tensor([storage, start, shape, strides]: readonly PickleValue[]): SavedTensor {
    if (!(storage instanceof Storage) || !isSize(start) || !areSizes(shape) || !areSizes(strides))
      throw new PickleError('its pickle has a tensor that cannot be read');
    const { type, record } = storage;
    const elementBytes = bytesPerElement(type) ?? 0;
    const byteLength = expectedBytes(type, shape) ?? 0;
    const begin = start * elementBytes;
    if (!Number.isSafeInteger(elementCount(shape)) || begin + byteLength > record.byteLength)
      throw weightsError(this.#path, `damaged: a tensor of shape [${shape.join(', ')}] goes beyond its storage`);
    return new SavedTensor({
      // Only contiguous row-major tensors can be used in place.
      type: isContiguous(shape, strides) ? type : `${type} in strides`,
      shape,
      file: this.#path,
      offset: record.offset + begin,
      byteLength,
    });
  }
}

/** Collects the tensors of nested dicts. The number of entries is limited, because a hostile pickle can reuse a dict thousands of times. */
function collect(path: string, root: PickleValue): Map<string, TensorLocation> {
  const tensors = new Map<string, TensorLocation>();
  const waiting: { name: string; value: PickleValue }[] = [{ name: '', value: root }];
  for (let seen = 0; seen < waiting.length; seen++) {
    const { name, value } = waiting[seen]!;
    if (value instanceof SavedTensor) tensors.set(name, { name, ...value.location });
    if (!(value instanceof Map)) continue;
    for (const [key, inner] of value)
      if (typeof key === 'string') waiting.push({ name: name === '' ? key : `${name}.${key}`, value: inner });
    if (waiting.length > maxEntries) throw weightsError(path, `it has more than ${maxEntries} entries`, distrust);
  }
  return tensors;
}

function isSize(value: PickleValue | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function areSizes(value: PickleValue | undefined): value is number[] {
  return Array.isArray(value) && value.every((size) => isSize(size));
}

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== step) return false;
    step *= shape[axis]!;
  }
  return true;
}
