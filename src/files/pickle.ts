// A restricted reader of Python's pickle format: it builds dicts, lists, tuples, strings, numbers, and objects that its
// caller allows by name. No code of a pickle is ever executed.

/** A value on a pickle's stack. Dicts are Maps; lists and tuples are arrays. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | PickleObject;

/** An object that the caller created. */
export type PickleObject = { readonly kind: string };

/** The callbacks for everything in a pickle that is not plain data. */
export type PickleWorld = {
  /** Returns the object for `module.name`, or undefined to reject the pickle. */
  global(module: string, name: string): PickleObject | undefined;
  /** Returns the object with that id, which is stored outside the pickle. */
  persistent(id: PickleValue): PickleValue;
  /** Returns the result of calling a global; undefined to reject the pickle. */
  call(callee: PickleValue, args: readonly PickleValue[]): PickleValue | undefined;
};

/** The reason why a pickle was rejected; `message` has no full stop. */
export class PickleError extends Error {}

const mark = Symbol('mark');
type Slot = PickleValue | typeof mark;

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** @throws PickleError for damaged pickles, for values that are not plain data, and for globals that `world` rejects. */
export function unpickle(bytes: Uint8Array, world: PickleWorld): PickleValue {
  return new Unpickler(bytes, world).run();
}

class Unpickler {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #world: PickleWorld;
  readonly #stack: Slot[] = [];
  readonly #memo = new Map<number, PickleValue>();
  #position = 0;

  constructor(bytes: Uint8Array, world: PickleWorld) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#world = world;
  }

  run(): PickleValue {
    for (;;) {
      const opcode = this.#byte();
      if (opcode === 0x2e) return this.#pop();
      this.#step(opcode);
    }
  }

  // Opcodes by their names in Python's pickletools.
  #step(opcode: number): void {
    const value = this.#literal(opcode);
    if (value !== undefined) this.#push(value);
    else if (opcode === 0x80)
      this.#take(1); // PROTO
    else if (opcode === 0x95)
      this.#take(8); // FRAME
    else if (opcode === 0x28)
      this.#stack.push(mark); // MARK
    else if (opcode === 0x30)
      this.#stack.pop(); // POP
    else if (opcode === 0x61)
      this.#extend(this.#popMany(1)); // APPEND
    else if (opcode === 0x65)
      this.#extend(this.#popToMark()); // APPENDS
    else if (opcode === 0x73)
      this.#set(this.#popMany(2)); // SETITEM
    else if (opcode === 0x75)
      this.#set(this.#popToMark()); // SETITEMS
    else if (opcode === 0x71)
      this.#remember(this.#byte()); // BINPUT
    else if (opcode === 0x72)
      this.#remember(this.#uint32()); // LONG_BINPUT
    else if (opcode === 0x94)
      this.#remember(this.#memo.size); // MEMOIZE
    else if (opcode === 0x62)
      this.#pop(); // BUILD: attributes of an object; tensors need none
    else throw new PickleError(`its pickle has an instruction (0x${opcode.toString(16)}) that saved tensors have not`);
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
      case 0x47: // BINFLOAT
        return this.#view.getFloat64(this.#take(8), false);
      case 0x58: // BINUNICODE
        return this.#text(this.#uint32());
      case 0x8c: // SHORT_BINUNICODE
      case 0x55: // SHORT_BINSTRING
        return this.#text(this.#byte());
      case 0x7d: // EMPTY_DICT
        return new Map();
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
        return [];
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.#popMany(opcode - 0x84);
      case 0x74: // TUPLE
        return this.#popToMark();
      case 0x68: // BINGET
        return this.#recall(this.#byte());
      case 0x6a: // LONG_BINGET
        return this.#recall(this.#uint32());
      case 0x63: // GLOBAL
        return this.#global(this.#line(), this.#line());
      case 0x93: // STACK_GLOBAL
        return this.#global(...(this.#popMany(2).map(String) as [string, string]));
      case 0x51: // BINPERSID
        return this.#world.persistent(this.#pop());
      case 0x52: // REDUCE
        return this.#reduce();
      default:
        return undefined;
    }
  }

  #global(module: string, name: string): PickleObject {
    const found = this.#world.global(module, name);
    if (found === undefined) throw refused(`${module}.${name}`);
    return found;
  }

  #reduce(): PickleValue {
    const [callee, args] = this.#popMany(2);
    if (!Array.isArray(args)) throw damaged();
    const result = this.#world.call(callee!, args);
    if (result === undefined) throw damaged();
    return result;
  }

  #extend(items: PickleValue[]): void {
    const list = this.#top();
    if (!Array.isArray(list)) throw damaged();
    for (const item of items) list.push(item);
  }

  #set(items: PickleValue[]): void {
    const dict = this.#top();
    if (!(dict instanceof Map) || items.length % 2 !== 0) throw damaged();
    for (let i = 0; i < items.length; i += 2) dict.set(items[i]!, items[i + 1]!);
  }

  #remember(index: number): void {
    this.#memo.set(index, this.#top());
  }

  #recall(index: number): PickleValue {
    const value = this.#memo.get(index);
    if (value === undefined) throw damaged();
    return value;
  }

  #push(value: PickleValue): void {
    this.#stack.push(value);
  }

  #top(): PickleValue {
    const value = this.#stack.at(-1);
    if (value === undefined || value === mark) throw damaged();
    return value;
  }

  #pop(): PickleValue {
    const value = this.#top();
    this.#stack.pop();
    return value;
  }

  #popMany(count: number): PickleValue[] {
    return Array.from({ length: count }, () => this.#pop()).reverse();
  }

  #popToMark(): PickleValue[] {
    const start = this.#stack.lastIndexOf(mark);
    if (start < 0) throw damaged();
    return this.#stack.splice(start).slice(1) as PickleValue[];
  }

  // Little-endian two's complement.
  #long(length: number): number | bigint {
    const start = this.#take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[start + i]!);
    if (length > 0 && this.#bytes[start + length - 1]! & 0x80) value -= 1n << BigInt(8 * length);
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }

  #text(length: number): string {
    const start = this.#take(length);
    try {
      return utf8.decode(this.#bytes.subarray(start, start + length));
    } catch {
      throw damaged();
    }
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#position);
    if (end < 0) throw damaged();
    const line = this.#text(end - this.#position);
    this.#position = end + 1;
    return line;
  }

  #uint32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  #byte(): number {
    return this.#bytes[this.#take(1)]!;
  }

  #take(length: number): number {
    const start = this.#position;
    if (length > this.#bytes.length - start) throw damaged();
    this.#position = start + length;
    return start;
  }
}

const damaged = () => new PickleError('its pickle is damaged');

function refused(name: string): PickleError {
  return new PickleError(`its pickle asks for ${name}, which saved tensors do not need, so it was refused`);
}
