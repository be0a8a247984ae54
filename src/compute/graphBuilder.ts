import { realpath } from 'node:fs/promises';
import { dirname, relative, resolve, sep } from 'node:path';
import { types } from 'node:util';
import { LongVLMError } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import { numberToHalf, type TensorType } from '../base/tensor.js';
import {
  checkInteger,
  checkNumber,
  checkObject,
  checkOneOf,
  checkString,
  isArray,
  wrongType,
} from '../base/validate.js';
import type { TensorLocation } from '../files/tensorFile.js';
import {
  type AttributeProto,
  attributeTypes,
  dataTypes,
  encodeModel,
  externalLocation,
  type GraphProto,
  type NodeProto,
} from './onnxProto.js';

/** An ONNX model in memory, and the folder of its external weights. */
export type OnnxModel = {
  readonly bytes: Uint8Array;
  readonly weightsFolder: string | undefined;
  /** The same model with float16 outputs, if it computes in float16: for what reads them on a GPU. */
  readonly halfOutputs?: OnnxModel;
};

/** A size, or the name of a size that is known only when the graph runs. */
export type Dimension = number | string;

/** An integer, a list of integers, a word, or a floating-point number (`{ float: 1 }`, as 1 alone would be an integer). */
export type Attribute = number | readonly number[] | string | { readonly float: number };

// LayerNormalization came with 17, Gelu with 20; IR version 9 is opset 20's.
const opset = 20;
const irVersion = 9;
const maxOutputs = 1 << 16;

/** Options of {@link GraphBuilder}. */
export type GraphBuilderOptions = {
  /**
   * The type of weights, constants and values between nodes. Inputs and outputs of the graph are float32 or bytes in any case,
   * but for inputs that are told to be float16, and for {@link OnnxModel.halfOutputs}.
   * Defaults to `float32`.
   */
  readonly precision?: TensorType;
};

/** The domain of ONNX Runtime's own operators. */
export const microsoft = 'com.microsoft';

/**
 * Builds an ONNX graph node by node. Values are referred to by name.
 *
 * Weights are not copied: they become external initialisers that point into the user's file.
 */
export class GraphBuilder {
  readonly #graph: GraphProto;
  readonly #weights = new Map<string, { location: TensorLocation; value: string }>();
  readonly #constants = new Map<string, string>();
  readonly #precision: TensorType;
  #values = 0;

  constructor(name: string, options: GraphBuilderOptions = {}) {
    checkString('name', name);
    const { precision = 'float32' } = checkObject('options', options);
    this.#precision = checkOneOf('precision', precision, ['float32', 'float16']);
    this.#graph = { name, node: [], initializer: [], input: [], output: [] };
  }

  /**
   * Adds an input of float32 values, of float16 ones or of bytes. Few operators take bytes: `Cast` them to {@link dataTypes} `I32` to use them as
   * indices. Returns the values as the graph computes with them.
   */
  input(name: string, dims: readonly Dimension[], type: 'float32' | 'float16' | 'uint8' = 'float32'): string {
    this.#graph.input.push(valueInfo(name, dims, inputTypes[type]));
    if (type === 'uint8' || type === this.#precision) return name;
    return this.node('Cast', [name], { to: this.#precision === 'float32' ? dataTypes.F32 : dataTypes.F16 });
  }

  /** Makes `value` a float32 output under `name`. */
  output(name: string, value: string, dims: readonly Dimension[]): void {
    if (this.#precision === 'float32') this.#push('Identity', [value], [name], {}, '');
    else this.#push('Cast', [value], [name], { to: dataTypes.F32 }, '');
    this.#graph.output.push(valueInfo(name, dims, dataTypes.F32));
  }

  /** Adds a node with one output and returns that. An empty name means that an optional input is omitted. */
  node(
    opType: string,
    inputs: readonly string[],
    attributes: Readonly<Record<string, Attribute>> = {},
    domain = '',
  ): string {
    return this.nodes(opType, inputs, 1, attributes, domain)[0]!;
  }

  /**
   * Adds a node with several outputs and returns them.
   * @param outputs how many, or the places of those that are wanted, from 0 and ascending: the others are omitted
   */
  nodes(
    opType: string,
    inputs: readonly string[],
    outputs: number | readonly number[],
    attributes: Readonly<Record<string, Attribute>> = {},
    domain = '',
  ): string[] {
    checkString('opType', opType);
    const places = placesOf(outputs);
    const values = places.map(() => this.#newValue(opType));
    const names = new Array<string>(places.at(-1)! + 1).fill('');
    for (const [index, place] of places.entries()) names[place] = values[index]!;
    this.#push(opType, inputs, names, attributes, domain);
    return values;
  }

  /** A constant list of integers, for shapes and ranges. */
  integers(values: readonly number[]): string {
    checkSizes('values', values);
    return this.#constant(values, [values.length]);
  }

  /** A constant integer scalar: as an index of Gather, it removes the axis. */
  scalar(value: number): string {
    return this.#constant([checkInteger('value', value, Number.MIN_SAFE_INTEGER)], []);
  }

  /** A constant scalar of the graph's precision. */
  number(value: number): string {
    return this.floats(Float32Array.of(value), []);
  }

  /** A table of values that is stored in the model itself, in the graph's precision: for small tables that are in no file. */
  floats(values: Float32Array, dims: readonly number[]): string {
    if (!types.isFloat32Array(values)) wrongType('values', 'Float32Array', values);
    checkSizes('dims', dims);
    if (this.#precision === 'float32') return this.#initializer('F32', dims, values);
    return this.#initializer('F16', dims, Uint16Array.from(values, numberToHalf));
  }

  #constant(values: readonly number[], dims: readonly number[]): string {
    return this.#initializer('I64', dims, BigInt64Array.from(values, BigInt));
  }

  #initializer(
    type: 'F32' | 'F16' | 'I64',
    dims: readonly number[],
    values: Float32Array | Uint16Array | BigInt64Array,
  ): string {
    const rawData = new Uint8Array(values.buffer, values.byteOffset, values.byteLength).slice();
    const key = `${type}:${dims}:${Buffer.from(rawData.buffer).toString('base64')}`;
    const known = this.#constants.get(key);
    if (known) return known;
    const name = `${type}_${this.#constants.size}`;
    this.#graph.initializer.push({ name, dataType: dataTypes[type], dims: [...dims], rawData });
    this.#constants.set(key, name);
    return name;
  }

  /** A weight in place, in its own type: F32, F16, BF16 or I8. */
  plainWeight(location: TensorLocation): string {
    checkString('location.name', checkObject('location', location).name);
    if (!this.#weights.has(location.name)) this.#weights.set(location.name, { location, value: location.name });
    return location.name;
  }

  /** A weight in place, in the graph's precision: other types go through a Cast, which ONNX Runtime does once. */
  weight(location: TensorLocation): string {
    checkString('location.name', checkObject('location', location).name);
    const known = this.#weights.get(location.name);
    if (known) return known.value;
    const own = this.#precision === 'float32' ? 'F32' : 'F16';
    const value = location.type === own ? location.name : this.node('Cast', [location.name], { to: dataTypes[own] });
    this.#weights.set(location.name, { location, value });
    return value;
  }

  /** The finished model. @throws LongVLMError `ERR_LONGVLM_FILE` when a weight file no longer exists. */
  async build(): Promise<OnnxModel> {
    const locations = [...this.#weights.values()].map(({ location }) => location);
    const files = new Map<string, string>();
    for (const { file } of locations) if (!files.has(file)) files.set(file, await realFile(file));
    const folder = files.size > 0 ? commonFolder([...files.values()]) : undefined;
    const external = locations.map((location) => ({
      name: location.name,
      dataType: dataTypeOf(location),
      dims: [...location.shape],
      dataLocation: externalLocation,
      externalData: [
        { key: 'location', value: relative(folder!, files.get(location.file)!).split(sep).join('/') },
        { key: 'offset', value: String(location.offset) },
        { key: 'length', value: String(location.byteLength) },
      ],
    }));
    const encoded = (graph: GraphProto): OnnxModel => ({
      bytes: encodeModel({
        irVersion,
        producerName: 'longvlm',
        opsetImport: [
          { domain: '', version: opset },
          { domain: microsoft, version: 1 },
        ],
        graph: { ...graph, initializer: [...graph.initializer, ...external] },
      }),
      weightsFolder: folder,
    });
    const model = encoded(this.#graph);
    return this.#precision === 'float32' ? model : { ...model, halfOutputs: encoded(withHalfOutputs(this.#graph)) };
  }

  #newValue(opType: string): string {
    return `${opType}_${this.#values++}`;
  }

  #push(
    opType: string,
    input: readonly string[],
    output: string[],
    attributes: Readonly<Record<string, Attribute>>,
    domain: string,
  ): void {
    if (!Array.isArray(input)) wrongType('inputs', 'array of names', input);
    for (const name of input) if (typeof name !== 'string') wrongType('inputs', 'array of names', name);
    checkObject('attributes', attributes);
    const node: NodeProto = {
      name: `${opType}/${output.find((value) => value !== '')}`,
      opType,
      domain,
      input: [...input],
      output,
      attribute: Object.entries(attributes).map(([name, value]) => attributeProto(name, value)),
    };
    this.#graph.node.push(node);
  }
}

const inputTypes = { float32: dataTypes.F32, float16: dataTypes.F16, uint8: dataTypes.U8 } as const;

/** A graph that computes in float16, without the casts that its outputs come from. */
function withHalfOutputs(graph: GraphProto): GraphProto {
  const outputs = new Set(graph.output.map(({ name }) => name));
  return {
    ...graph,
    node: graph.node.map((node) =>
      outputs.has(node.output[0]!) ? { ...node, opType: 'Identity', attribute: [] } : node,
    ),
    output: graph.output.map(({ name, type }) => ({
      name,
      type: { tensorType: { ...type.tensorType, elemType: dataTypes.F16 } },
    })),
  };
}

/** The places of outputs, checked to ascend. */
function placesOf(outputs: number | readonly number[]): number[] {
  if (!isArray(outputs))
    return Array.from({ length: checkInteger('outputs', outputs, 1, maxOutputs) }, (_, index) => index);
  checkInteger('outputs.length', outputs.length, 1, maxOutputs);
  let least = 0;
  return outputs.map((place, index) => {
    least = checkInteger(`outputs[${index}]`, place, least, maxOutputs) + 1;
    return least - 1;
  });
}

function valueInfo(name: string, dims: readonly Dimension[], elemType: number) {
  checkString('name', name);
  if (!Array.isArray(dims)) wrongType('dims', 'array', dims);
  const dim = (dims as readonly Dimension[]).map((size) =>
    typeof size === 'number' ? { dimValue: size } : { dimParam: size },
  );
  return { name, type: { tensorType: { elemType, shape: { dim } } } };
}

function attributeProto(name: string, value: Attribute): AttributeProto {
  if (typeof value === 'number') return { name, type: attributeTypes.int, i: value };
  if (Array.isArray(value)) {
    checkSizes(`attributes.${name}`, value);
    return { name, type: attributeTypes.ints, ints: [...value] };
  }
  if (typeof value === 'string') return { name, type: attributeTypes.string, s: Buffer.from(value) };
  if (typeof value !== 'object' || value === null || !('float' in value))
    wrongType(`attributes.${name}`, 'number, integers, string or { float }', value);
  return {
    name,
    type: attributeTypes.float,
    f: checkNumber(`attributes.${name}.float`, value.float, Number.NEGATIVE_INFINITY),
  };
}

function checkSizes(name: string, values: unknown): void {
  if (!Array.isArray(values)) wrongType(name, 'array of integers', values);
  for (const [index, value] of values.entries()) checkInteger(`${name}[${index}]`, value, Number.MIN_SAFE_INTEGER);
}

function dataTypeOf({ name, type, file }: TensorLocation): number {
  if (type === 'F32' || type === 'F16' || type === 'BF16' || type === 'I8')
    return dataTypes[type as keyof typeof dataTypes];
  throw new LongVLMError(
    'ERR_LONGVLM_WEIGHTS',
    `${file}: tensor ${name} is of type ${type}, which cannot be run. Convert it to F32, F16 or BF16.`,
  );
}

// ONNX Runtime resolves symbolic links before it checks that external data are below the given folder, so links (as in
// Hugging Face's cache) must be resolved here first.
async function realFile(file: string): Promise<string> {
  try {
    return await realpath(resolve(file));
  } catch (error) {
    throw fileError(file, error);
  }
}

/** The deepest folder that contains all `files` (absolute paths). */
function commonFolder(files: readonly string[]): string {
  let folder = dirname(files[0]!);
  while (
    !files.every((file) => dirname(file) === folder || file.startsWith(folder.endsWith(sep) ? folder : folder + sep))
  ) {
    const parent = dirname(folder);
    if (parent === folder) break;
    folder = parent;
  }
  return folder;
}
