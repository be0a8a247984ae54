// Projectors of linear layers, with the tensor names of LLaVA, LongVLM and llama.cpp.
import { LongVLMError } from '../base/errors.js';
import { withoutQuantization } from '../cache/withoutQuantization.js';
import { activate } from '../compute/activations.js';
import { GraphBuilder, type OnnxModel } from '../compute/graphBuilder.js';
import { MmprojFields } from '../files/mmprojFields.js';
import type { AnyWeightFile } from '../files/openWeights.js';
import { requireTensor } from '../files/requireTensor.js';
import { type TensorLocation, tensorNames, type WeightFile, weightsError } from '../files/tensorFile.js';
import type { ProjectorFamily } from './family.js';
import { type ProjectorConfig, plainProjector, readProjectorConfig } from './projectorConfig.js';

/** The text between a projector's name and `weight` or `bias`, of each layer and of a normalisation before the first one. */
export type Layout = { readonly layers: readonly string[]; readonly norm?: string };

/** The layout for each projector name: `mm_projector`, `mm` and so on. */
export type Layouts = Readonly<Record<string, Layout>>;

/** A family of projectors: linear layers with an activation between them. */
export type LayeredFamily = ProjectorFamily & { readonly layouts: Layouts };

/**
 * A tensor of a projector; its first group is the projector's own name: `mm` in an mmproj file, `multi_modal_projector` in
 * Hugging Face's own LLaVA.
 */
const projectorName = /^(?:.+\.)?(mm_projector|mm|multi_modal_projector)\./;

/** Of all names in a file those of a projector. */
export function layerNames(names: readonly string[]): string[] {
  // There may be 500,000 names, of which few hold these words.
  return names.filter((name) => (name.includes('mm') || name.includes('multi_modal')) && projectorName.test(name));
}

/** A linear layer: weight [out, in], bias [out] or none. */
type Linear = { readonly weight: TensorLocation; readonly bias: TensorLocation | undefined };

/** A projector's layers, and its normalisation of features: weight and bias [in]. */
type Chain = { readonly norm: Required<Linear> | undefined; readonly layers: readonly Linear[] };

/**
 * The family of projectors whose tensor names match one of `layouts`, with any prefix. The file may also hold other tensors.
 * @param name as LLaVA's code has it, such as `mlp2x_gelu`; another activation replaces the one in it
 */
export function layeredFamily(name: string, layouts: Layouts): LayeredFamily {
  return {
    name,
    layouts,
    async open(file, signal, onProgress) {
      if (file.format === 'gguf') new MmprojFields(file).requireLlavaProjector();
      const found = findTensors(file);
      const layout = found && layouts[found.kind];
      if (!layout || !found.places.every((place) => isOf(layout, place))) return undefined;
      const config = await configOf(file, found, name);
      const norm = layout.norm !== undefined && found.places.some((place) => place.startsWith(layout.norm!));
      const unquantized = await withoutQuantization(file, { signal, onProgress });
      const chain = findChain(unquantized, found.prefix, norm ? layout : { layers: layout.layers }, config);
      const { layers } = chain;
      const kind = `${norm ? 'layernorm_' : ''}${layers.length > 1 ? name.replace('gelu', config.activation) : name}`;
      return {
        kind,
        ...(norm && { description: { kind, epsilon: config.epsilon } }),
        ...(config.trainedStates && { trainedStates: config.trainedStates }),
        inChannels: layers[0]!.weight.shape[1]!,
        outChannels: layers.at(-1)!.weight.shape[0]!,
        tensors: [...(chain.norm ? [chain.norm] : []), ...layers].flatMap(({ weight, bias }) =>
          bias ? [weight, bias] : [weight],
        ),
        graph: () => build(chain, config),
      };
    },
  };
}

/** @throws LongVLMError always: none of `families` found its projector in `file`. */
export function refuse(file: WeightFile, families: readonly LayeredFamily[]): never {
  const found = findTensors(file);
  if (!found) throw weightsError(file.path, 'tensor mm_projector.weight is missing', "Give a projector's weights.");
  const { prefix, kind, places } = found;
  // The error names the first tensor that does not belong to the same layout as the first tensor.
  const layouts = families.map(({ layouts }) => layouts[kind] ?? { layers: [] });
  const known = layouts.findLast((layout) => isOf(layout, places[0]!)) ?? { layers: [] };
  const other = places.find((place) => !isOf(known, place))!;
  throw new LongVLMError(
    'ERR_LONGVLM_UNSUPPORTED',
    `${file.path}: tensor ${prefix}${other} belongs to a kind of projector that is not supported. Use a linear projector, or one of two layers with GELU.`,
  );
}

/** The tensors of a projector: their common prefix, and the sorted rest of their names. */
type Found = { readonly prefix: string; readonly kind: string; readonly places: readonly string[] };

// Each family asks, and there may be many names.
const known = new WeakMap<WeightFile, { readonly found: Found | undefined }>();

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a file with several projectors, of which none is known to be the right one */
function findTensors(file: WeightFile): Found | undefined {
  const answer = known.get(file) ?? { found: searchTensors(file) };
  known.set(file, answer);
  return answer.found;
}

function searchTensors(file: WeightFile): Found | undefined {
  const names = layerNames(tensorNames(file));
  if (names.length === 0) return undefined;
  const [prefix, kind] = projectorName.exec(names[0]!)! as unknown as [string, string];
  const other = names.find((name) => projectorName.exec(name)![0] !== prefix);
  if (other !== undefined)
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `${file.path}: tensors ${names[0]} and ${other} are of two projectors. Give a file with the one that is meant.`,
    );
  return { prefix, kind, places: names.map((name) => name.slice(prefix.length)).sort() };
}

function isOf({ layers, norm }: Layout, place: string): boolean {
  return [...layers, ...(norm === undefined ? [] : [norm])].some(
    (start) => place === `${start}weight` || place === `${start}bias`,
  );
}

/** @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_WEIGHTS` for a configuration of another projector */
async function configOf(file: AnyWeightFile, { prefix, kind, places }: Found, name: string): Promise<ProjectorConfig> {
  if (file.format === 'gguf') return plainProjector;
  const config = await readProjectorConfig(file.path);
  if (kind === 'mm_projector' && config.type !== undefined && config.type !== name)
    throw new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `${file.path} holds a projector like ${name}, where mm_projector_type is ${config.type} in the config.json beside it. Use the projector that belongs to it.`,
    );
  const bias = places.find((place) => place.endsWith('bias') && !place.includes('norm'));
  if (!config.hasBias && bias !== undefined)
    throw weightsError(
      file.path,
      `there is a tensor ${prefix}${bias}, where multimodal_projector_bias is false in the config.json beside it`,
      'Use weights and configuration of the same model.',
    );
  return config;
}

/** Finds the tensors. The input width of each layer must equal the output width of the layer before. */
function findChain(file: WeightFile, prefix: string, { layers, norm }: Layout, { hasBias }: ProjectorConfig): Chain {
  let inputs = -1;
  const chain = layers.map((layer) => {
    const weight = requireTensor(file, `${prefix}${layer}weight`, [-1, inputs]);
    if (weight.shape.includes(0))
      throw weightsError(file.path, `tensor ${weight.name} is empty: its shape is [${weight.shape.join(', ')}]`);
    const outputs = weight.shape[0]!;
    inputs = outputs;
    return { weight, bias: hasBias ? requireTensor(file, `${prefix}${layer}bias`, [outputs]) : undefined };
  });
  const width = chain[0]!.weight.shape[1]!;
  const normOf = (name: string) => requireTensor(file, `${prefix}${norm}${name}`, [width]);
  return { layers: chain, norm: norm === undefined ? undefined : { weight: normOf('weight'), bias: normOf('bias') } };
}

function build({ norm, layers }: Chain, { activation, epsilon }: ProjectorConfig): Promise<OnnxModel> {
  const graph = new GraphBuilder('projector');
  let value = graph.input('features', ['tokens', layers[0]!.weight.shape[1]!]);
  if (norm) {
    const inputs = [value, graph.weight(norm.weight), graph.weight(norm.bias!)];
    value = graph.node('LayerNormalization', inputs, { axis: -1, epsilon: { float: epsilon } });
  }
  for (const [index, { weight, bias }] of layers.entries()) {
    if (index > 0) value = activate(graph, activation, value);
    const inputs = [value, graph.weight(weight), ...(bias ? [graph.weight(bias)] : [])];
    value = graph.node('Gemm', inputs, { transB: 1 });
  }
  graph.output('embeddings', value, ['tokens', layers.at(-1)!.weight.shape[0]!]);
  return graph.build();
}
