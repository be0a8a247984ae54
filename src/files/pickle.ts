// A restricted reader of Python's pickle format: it builds dicts, lists, tuples, strings, numbers, and objects that its
// caller allows by name. No code of a pickle is ever executed. What it builds is bounded, whatever the pickle asks for.
import { types } from 'node:util';
import { Pace } from '../base/pace.js';

/** A value on a pickle's stack. Lists, tuples and sets are arrays; dicts are Maps of what they have under names. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PickleValue[]
  | Map<string, PickleValue>
  | PickleObject;

/** An object that the caller created. */
export type PickleObject = { readonly kind: string };

/** The callbacks for everything in a pickle that is not plain data. */
export type PickleWorld = {
  /** Returns the object for `module.name`, or undefined to reject the pickle. */
  global(module: string, name: string): PickleObject | undefined;
  /** Returns the object with that id, which is stored outside the pickle. */
  persistent(id: PickleValue): PickleValue;
  /** Returns the result of calling a global, or of making an object of it; undefined to reject the pickle. */
  call(callee: PickleValue, args: readonly PickleValue[]): PickleValue | undefined;
  /** Gives an object its state. */
  build(object: PickleObject, state: PickleValue): void;
};

/** The reason why a pickle was rejected; `message` has no full stop. */
export class PickleError extends Error {}

/** The bytes end within the pickle. */
export class PickleEnds extends PickleError {}

/** What was skipped. */
const someBytes: PickleObject = { kind: 'bytes' };

// A state_dict of 100,000 tensors takes 4 million instructions and 800,000 lists and dicts. Python writes dicts in batches of
// 1000 entries.
const maxSteps = 20_000_000;
const maxContainers = 1_500_000;
const maxItems = 4_000_000;
const maxNames = 600_000;
// The largest vocabularies have 300,000 words.
const maxDict = 400_000;
const maxStack = 1_000_000;
const maxMarks = 10_000;
const maxMemo = 3_000_000;
const maxTextBytes = 16 << 20;
const maxBatch = 50_000;
const maxNameLength = 500;

// A byte order mark is a part of a name like any other.
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/**
 * @param start where in `bytes` the pickle begins
 * @returns its value, and where it ends
 * @throws PickleError for damaged pickles, for values that are not plain data, and for globals that `world` rejects.
 */
export function unpickle(
  bytes: Uint8Array,
  world: PickleWorld,
  start = 0,
): Promise<{ readonly value: PickleValue; readonly end: number }> {
  return new Unpickler(bytes, world, start).run();
}

class Unpickler {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #world: PickleWorld;
  readonly #stack: PickleValue[] = [];
  /** The heights of the stack at each mark: what lies below the last one cannot be reached. */
  readonly #marks: number[] = [];
  readonly #memo: (PickleValue | undefined)[] = [];
  readonly #pace = new Pace();
  #position: number;
  #steps = 0;
  #containers = 0;
  #items = 0;
  #names = 0;

  constructor(bytes: Uint8Array, world: PickleWorld, start: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#world = world;
    this.#position = start;
  }

  async run(): Promise<{ value: PickleValue; end: number }> {
    for (;;) {
      if (++this.#steps % 1024 === 0 && this.#pace.isDue) await this.#pace.rest();
      const opcode = this.#byte();
      if (opcode === 0x2e) return { value: this.#pop(), end: this.#position };
      this.#step(opcode);
      if (this.#steps > maxSteps || this.#containers > maxContainers || this.#stack.length > maxStack) throw tooMuch();
    }
  }

  // Opcodes by their names in Python's pickletools.
  #step(opcode: number): void {
    const value = this.#literal(opcode);
    if (value !== undefined) {
      if (typeof value === 'object' && value !== null) this.#containers++;
      this.#stack.push(value);
      return;
    }
    switch (opcode) {
      case 0x80: // PROTO
        this.#take(1);
        return;
      case 0x95: // FRAME
        this.#take(8);
        return;
      case 0x28: // MARK
        this.#marks.push(this.#stack.length);
        if (this.#marks.length > maxMarks) throw damaged();
        return;
      case 0x30: // POP
        this.#pop();
        return;
      case 0x31: // POP_MARK
        this.#popToMark();
        return;
      case 0x61: // APPEND
        this.#extend(this.#popMany(1));
        return;
      case 0x65: // APPENDS
      case 0x90: // ADDITEMS
        this.#extend(this.#popToMark());
        return;
      case 0x73: // SETITEM
        this.#set(this.#popMany(2));
        return;
      case 0x75: // SETITEMS
        this.#set(this.#popToMark());
        return;
      case 0x71: // BINPUT
        this.#remember(this.#byte());
        return;
      case 0x72: // LONG_BINPUT
        this.#remember(this.#uint32());
        return;
      case 0x94: // MEMOIZE
        this.#remember(this.#memo.length);
        return;
      case 0x62: // BUILD
        this.#build();
        return;
    }
    throw new PickleError(`its pickle has an instruction (0x${opcode.toString(16)}) that saved tensors have not`);
  }

  /** The value that an opcode pushes; undefined for opcodes that do something else. */
  #literal(opcode: number): PickleValue | undefined {
    switch (opcode) {
      case 0x4e: // NONE
        return null;
      case 0x88: // NEWTRUE
        return true;
      case 0x89: // NEWFALSE
        return false;
      case 0x4b: // BININT1
        return this.#byte();
      case 0x4d: // BININT2
        return this.#view.getUint16(this.#take(2), true);
      case 0x4a: // BININT
        return this.#view.getInt32(this.#take(4), true);
      case 0x8a: // LONG1
        return this.#long(this.#byte());
      case 0x8b: // LONG4
        return this.#long(this.#uint32());
      case 0x47: // BINFLOAT
        return this.#view.getFloat64(this.#take(8), false);
      case 0x58: // BINUNICODE
      case 0x54: // BINSTRING
        return this.#text(this.#uint32());
      case 0x8c: // SHORT_BINUNICODE
      case 0x55: // SHORT_BINSTRING
        return this.#text(this.#byte());
      case 0x8d: // BINUNICODE8
        return this.#text(this.#uint64());
      case 0x42: // BINBYTES
        return this.#skip(this.#uint32());
      case 0x43: // SHORT_BINBYTES
        return this.#skip(this.#byte());
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        return this.#skip(this.#uint64());
      case 0x7d: // EMPTY_DICT
        return new Map();
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
      case 0x8f: // EMPTY_SET
        return [];
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.#popMany(opcode - 0x84);
      case 0x74: // TUPLE
      case 0x91: // FROZENSET
        return this.#popToMark();
      case 0x32: // DUP
        return this.#top();
      case 0x68: // BINGET
        return this.#recall(this.#byte());
      case 0x6a: // LONG_BINGET
        return this.#recall(this.#uint32());
      case 0x63: // GLOBAL
        return this.#global(this.#line(), this.#line());
      case 0x93: // STACK_GLOBAL
        return this.#global(...(this.#popMany(2) as [PickleValue, PickleValue]));
      case 0x51: // BINPERSID
        return this.#world.persistent(this.#pop());
      case 0x52: // REDUCE
      case 0x81: // NEWOBJ
        return this.#call(...(this.#popMany(2) as [PickleValue, PickleValue]));
      case 0x92: // NEWOBJ_EX: with named arguments, which nothing here needs
        return this.#call(...(this.#popMany(3) as [PickleValue, PickleValue]));
      default:
        return undefined;
    }
  }

  #global(module: PickleValue, name: PickleValue): PickleObject {
    if (!isName(module) || !isName(name)) throw damaged();
    const found = this.#world.global(module, name);
    if (found !== undefined) return found;
    throw new PickleError(`its pickle asks for ${module}.${name}, which saved tensors do not need, so it was refused`);
  }

  #call(callee: PickleValue, args: PickleValue): PickleValue {
    const result = Array.isArray(args) ? this.#world.call(callee, args) : undefined;
    if (result === undefined) throw damaged();
    return result;
  }

  #build(): void {
    const state = this.#pop();
    const object = this.#top();
    // Attributes of a dict or list are of no use here.
    if (typeof object === 'object' && object !== null && 'kind' in object) this.#world.build(object, state);
  }

  #extend(items: PickleValue[]): void {
    const list = this.#top();
    if (!Array.isArray(list)) throw damaged();
    this.#items += items.length;
    if (this.#items > maxItems) throw tooMuch();
    for (const item of items) list.push(item);
  }

  #set(items: PickleValue[]): void {
    const dict = this.#top();
    if (!types.isMap(dict) || items.length % 2 !== 0) throw damaged();
    this.#names += items.length / 2;
    if (items.length > maxBatch || this.#names > maxNames) throw tooMuch();
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i]!;
      if (typeof key === 'string') dict.set(key, items[i + 1]!);
    }
    if (dict.size > maxDict) throw tooMuch();
  }

  #remember(index: number): void {
    const value = this.#top();
    // Python counts up: there are never more places than instructions.
    if (index > this.#steps) throw damaged();
    if (index > maxMemo) throw tooMuch();
    while (this.#memo.length < index) this.#memo.push(undefined);
    this.#memo[index] = value;
  }

  #recall(index: number): PickleValue {
    const value = this.#memo[index];
    if (value === undefined) throw damaged();
    // Nothing new.
    if (typeof value === 'object' && value !== null) this.#containers--;
    return value;
  }

  #top(): PickleValue {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) throw damaged();
    return this.#stack.at(-1)!;
  }

  #pop(): PickleValue {
    const value = this.#top();
    this.#stack.pop();
    return value;
  }

  #popMany(count: number): PickleValue[] {
    const values = new Array<PickleValue>(count);
    for (let i = count - 1; i >= 0; i--) values[i] = this.#pop();
    return values;
  }

  #popToMark(): PickleValue[] {
    const start = this.#marks.pop();
    if (start === undefined) throw damaged();
    return this.#stack.splice(start);
  }

  // Little-endian two's complement.
  #long(length: number): number | bigint | PickleObject {
    // No size, nor anything else that is needed.
    if (length > 16) return this.#skip(length);
    const start = this.#take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[start + i]!);
    if (length > 0 && this.#bytes[start + length - 1]! & 0x80) value -= 1n << BigInt(8 * length);
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }

  #text(length: number): string {
    const start = this.#take(length);
    if (length > maxTextBytes) throw tooMuch();
    return utf8.decode(this.#bytes.subarray(start, start + length));
  }

  #skip(length: number): PickleObject {
    this.#take(length);
    return someBytes;
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#position);
    if (end < 0) throw new PickleEnds('its pickle is damaged');
    if (end - this.#position > maxNameLength) throw damaged();
    const line = this.#text(end - this.#position);
    this.#position = end + 1;
    return line;
  }

  #uint32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  #uint64(): number {
    return Number(this.#view.getBigUint64(this.#take(8), true));
  }

  #byte(): number {
    return this.#bytes[this.#take(1)]!;
  }

  #take(length: number): number {
    const start = this.#position;
    if (length > this.#bytes.length - start) throw new PickleEnds('its pickle is damaged');
    this.#position = start + length;
    return start;
  }
}

const damaged = () => new PickleError('its pickle is damaged');
const tooMuch = () => new PickleError('its pickle holds more than any model does');

function isName(value: PickleValue): value is string {
  return typeof value === 'string' && value.length <= maxNameLength;
}
