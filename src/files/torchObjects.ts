// What the pickles of torch.save are made of: everything that `torch.load(weights_only=True)` takes. Tensors and storages
// are kept as places in the file; what holds no weights is taken and not looked at.
import { types } from 'node:util';
import { elementCount } from '../base/tensor.js';
import { PickleError, type PickleObject, type PickleValue, type PickleWorld } from './pickle.js';
import type { ElementType } from './tensorFile.js';

/** A place for elements in the file: where it lies is found out when a tensor in it is. */
export class Storage {
  readonly kind = 'storage';
  constructor(
    /** Its key in the archive, or among the storages at the end of a file without one. */
    readonly key: string,
    /** Its element type, and an element's bytes; undefined for bytes that the tensors say the type of. */
    readonly type: string | undefined,
    readonly elementBytes: number,
    /** Elements that it has. */
    readonly elements: number,
    /** The first of them in the storage of this key. */
    readonly start: number,
  ) {}
}

/** A tensor: a view of a storage, or one without, which cannot be read. `start` and `strides` count elements. */
export type TensorView = {
  readonly type: string;
  readonly shape: readonly number[];
  readonly storage?: Storage;
  readonly start: number;
  readonly strides: readonly number[];
};

/** A tensor in a pickle. Pickles of old make it first, and say what is in it afterwards. */
export class SavedTensor {
  readonly kind = 'tensor';
  constructor(public view: TensorView) {}
}

type Builder = (args: readonly PickleValue[]) => PickleValue | undefined;

class Callable {
  readonly kind = 'callable';
  constructor(readonly call: Builder) {}
}

class StorageType {
  readonly kind = 'storage type';
  constructor(readonly name: string) {}
}

class ElementKind {
  readonly kind = 'dtype';
  constructor(readonly name: string) {}
}

/** Something that holds no weights: a device, a layout, a number of another kind. */
const other: PickleObject = { kind: 'other' };

const elementTypes: Readonly<Record<string, ElementType>> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint64: 'U64',
  uint32: 'U32',
  uint16: 'U16',
  uint8: 'U8',
  bool: 'BOOL',
};

// The names that types of storage and of tensors begin with, and the bytes of an element.
const storageKinds: Readonly<Record<string, readonly [type: string, bytes: number]>> = {
  Double: ['F64', 8],
  Float: ['F32', 4],
  Half: ['F16', 2],
  BFloat16: ['BF16', 2],
  Long: ['I64', 8],
  Int: ['I32', 4],
  Short: ['I16', 2],
  Char: ['I8', 1],
  Byte: ['U8', 1],
  Bool: ['BOOL', 1],
  ComplexDouble: ['complex128', 16],
  ComplexFloat: ['complex64', 8],
  QInt8: ['qint8', 1],
  QUInt8: ['quint8', 1],
  QInt32: ['qint32', 4],
  QUInt4x2: ['quint4x2', 1],
  QUInt2x4: ['quint2x4', 1],
};

const dtypeNames =
  /^(float(16|32|64)|bfloat16|u?int([1-8]|16|32|64)|bool|complex(32|64|128)|float8_e\w+|float4_e\w+|bits\w+|q(ui|i)nt\w+)$/;
const schemeNames = /^per_(tensor|channel)_(affine|symmetric)(_float_qparams)?$/;
const maxDimensions = 64;

const empty: TensorView = { type: 'empty', shape: [0], start: 0, strides: [1] };
const same: Builder = ([first]) => first;
const nothing: Builder = () => other;

// By their full names.
const callables: Readonly<Record<string, Builder>> = {
  'collections.OrderedDict': ([entries]) => dictOf(entries),
  'collections.Counter': ([entries]) => dictOf(entries),
  'collections.defaultdict': ([, entries]) => dictOf(entries),
  'builtins.set': ([items]) => (Array.isArray(items) ? items : []),
  'builtins.frozenset': ([items]) => (Array.isArray(items) ? items : []),
  'builtins.list': nothing,
  'builtins.dict': nothing,
  'builtins.int': nothing,
  'builtins.float': nothing,
  'builtins.bytearray': nothing,
  'builtins.complex': nothing,
  '_codecs.encode': nothing,
  'torch.Size': ([sizes]) => (Array.isArray(sizes) ? sizes : []),
  'torch.device': nothing,
  'torch.serialization._get_layout': nothing,
  'torch.Tensor': () => new SavedTensor(empty),
  'torch.nn.parameter.Parameter': ([tensor]) => tensor ?? new SavedTensor(empty),
  'torch._utils._rebuild_tensor': tensorOf,
  'torch._utils._rebuild_tensor_v2': (args) => tensorOf(args, undefined, args[6]),
  'torch._utils._rebuild_tensor_v3': (args) => tensorOf(args, args[6], args[7]),
  'torch._utils._rebuild_parameter': same,
  'torch._utils._rebuild_parameter_with_state': same,
  'torch._tensor._rebuild_from_type_v2': rebuilt,
  'torch._utils._rebuild_qtensor': (args) => unreadable('quantized', args[2]),
  'torch._utils._rebuild_sparse_tensor': () => unreadable('sparse'),
  'torch._utils._rebuild_nested_tensor': () => unreadable('nested'),
  'torch._utils._rebuild_meta_tensor_no_storage': ([, shape]) => unreadable('meta, without values', shape),
  'torch._utils._rebuild_wrapper_subclass': ([, , shape]) => unreadable('a class of its own', shape),
  'torch._utils._rebuild_device_tensor_from_cpu_tensor': ([tensor, type]) => onDevice(tensor, type),
  'torch._utils._rebuild_device_tensor_from_numpy': () => unreadable('an array of NumPy'),
};

/** Reads the pickles of one file. */
export class TorchWorld implements PickleWorld {
  /** The bytes of an element of each storage that was named, by its key. */
  readonly elementBytes = new Map<string, number>();

  global(module: string, name: string): PickleObject | undefined {
    const known = `${module === '__builtin__' ? 'builtins' : module}.${name}`;
    if (Object.hasOwn(callables, known)) return new Callable(callables[known]!);
    if (/^torch(\.cuda)?$/.test(module)) {
      const storage = /^(\w+)Storage$/.exec(name)?.[1];
      if (storage !== undefined && Object.hasOwn(storageKinds, storage)) return new StorageType(storage);
      const tensor = /^(\w+)Tensor$/.exec(name)?.[1];
      if (tensor !== undefined && Object.hasOwn(storageKinds, tensor))
        return new Callable(() => new SavedTensor(empty));
    }
    if (/^torch(\.cuda)?\.sparse$/.test(module) && /^[A-Z]\w*Tensor$/.test(name))
      return new Callable(() => unreadable('sparse'));
    if (module === 'torch.storage' && (name === 'UntypedStorage' || name === 'TypedStorage'))
      return new StorageType('');
    if (module !== 'torch') return undefined;
    if (dtypeNames.test(name)) return new ElementKind(name);
    return schemeNames.test(name) ? other : undefined;
  }

  // ('storage', type, key, device, elements), in files without an archive also (key, start, elements) of a part of it.
  persistent(id: PickleValue): Storage {
    const [word, type, key, , elements, part] = Array.isArray(id) ? id : [];
    const [, start, partElements] = Array.isArray(part) ? part : [undefined, 0, elements];
    if (word !== 'storage' || !(type instanceof StorageType) || typeof key !== 'string')
      throw new PickleError('its pickle has a storage that cannot be read');
    if (!isSize(elements) || !isSize(start) || !isSize(partElements) || start + partElements > elements)
      throw new PickleError('its pickle has a storage that cannot be read');
    const [name, bytes] = storageKinds[type.name] ?? [undefined, 1];
    this.elementBytes.set(key, bytes);
    return new Storage(key, name, bytes, partElements, start);
  }

  call(callee: PickleValue, args: readonly PickleValue[]): PickleValue | undefined {
    return callee instanceof Callable ? callee.call(args) : undefined;
  }

  // Before _rebuild_tensor there was: (storage, start, shape, strides), or of a parameter (tensor, …).
  build(object: PickleObject, state: PickleValue): void {
    if (!(object instanceof SavedTensor) || !Array.isArray(state)) return;
    const [first] = state;
    if (first instanceof SavedTensor) object.view = first.view;
    else if (first instanceof Storage) object.view = tensorOf(state).view;
  }
}

// The dict of each list that one was made of: a hostile pickle could ask for the same one millions of times.
const dicts = new WeakMap<PickleValue[], PickleValue>();

/** What a Python dict is made of: another one, or a list of pairs. */
function dictOf(entries: PickleValue | undefined): PickleValue {
  if (types.isMap(entries)) return entries;
  if (!Array.isArray(entries)) return new Map();
  const known = dicts.get(entries);
  if (known) return known;
  const dict = new Map<string, PickleValue>();
  for (const entry of entries) {
    const [key, value] = Array.isArray(entry) ? entry : [];
    if (typeof key === 'string' && value !== undefined) dict.set(key, value);
  }
  dicts.set(entries, dict);
  return dict;
}

/** A tensor with attributes: (function, class, arguments, attributes). */
function rebuilt([build, , args]: readonly PickleValue[]): PickleValue | undefined {
  // Of itself, it could be nested without end.
  if (!(build instanceof Callable) || build.call === rebuilt || !Array.isArray(args)) return undefined;
  return build.call(args);
}

// (storage, start, shape, strides, …)
function tensorOf(
  [storage, start, shape, strides]: readonly PickleValue[],
  kind?: PickleValue,
  bits?: PickleValue,
): SavedTensor {
  if (!(storage instanceof Storage) || !isSize(start) || !areSizes(shape) || !areSizes(strides))
    throw new PickleError('its pickle has a tensor that cannot be read');
  if (strides.length !== shape.length || !Number.isSafeInteger(elementCount(shape)))
    throw new PickleError('its pickle has a tensor that cannot be read');
  // A storage of bytes, which the tensor says the type of; without one it is of bytes.
  const named = kind instanceof ElementKind ? (elementTypes[kind.name] ?? kind.name) : (storage.type ?? 'U8');
  const type = setBits(bits).reduce((text, bit) => `${text}, ${bit}`, named);
  return new SavedTensor({ type, shape, storage, start, strides });
}

/** The marks of a tensor whose values stand in the file with another sign, or conjugated. */
function setBits(bits: PickleValue | undefined): string[] {
  return types.isMap(bits) ? [...bits].flatMap(([name, isSet]) => (isSet === true ? [name] : [])) : [];
}

function onDevice(tensor: PickleValue | undefined, kind: PickleValue | undefined): PickleValue | undefined {
  if (!(tensor instanceof SavedTensor) || !(kind instanceof ElementKind)) return undefined;
  const { type, shape } = tensor.view;
  return type === elementTypes[kind.name] ? tensor : unreadable(`${type} to be ${kind.name}`, [...shape]);
}

function unreadable(type: string, shape?: PickleValue): SavedTensor {
  return new SavedTensor({ ...empty, type, ...(areSizes(shape) && { shape }) });
}

/** Whether the values of a view lie one after the other. */
export function isContiguous({ shape, strides }: TensorView): boolean {
  if (shape.includes(0)) return true;
  let step = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== step) return false;
    step *= shape[axis]!;
  }
  return true;
}

/** The elements from the first to the last of a view, those between included. */
export function spanOf(shape: readonly number[], strides: readonly number[]): number {
  if (shape.includes(0)) return 0;
  return shape.reduce((span, size, axis) => span + (size - 1) * strides[axis]!, 1);
}

function isSize(value: PickleValue | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function areSizes(value: PickleValue | undefined): value is number[] {
  return Array.isArray(value) && value.length <= maxDimensions && value.every((size) => isSize(size));
}
