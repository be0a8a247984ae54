// Projectors of linear layers, with the tensor names of LLaVA, LongVLM and llama.cpp.
import { LongVLMError } from '../base/errors.js';
import { withoutQuantization } from '../cache/withoutQuantization.js';
import { GraphBuilder, type OnnxModel } from '../compute/graphBuilder.js';
import { MmprojFields } from '../files/mmprojFields.js';
import { requireTensor } from '../files/requireTensor.js';
import { type TensorLocation, tensorNames, type WeightFile, weightsError } from '../files/tensorFile.js';
import type { ProjectorFamily } from './family.js';

/** For each projector name (`mm_projector`, `mm` and so on): the text between it and `weight` or `bias`, layer by layer. */
export type Layout = Readonly<Record<string, readonly string[]>>;

/** A family of projectors: linear layers with GELU (by the error function) between them. */
export type LayeredFamily = ProjectorFamily & { readonly layout: Layout };

/**
 * A tensor of a projector; its first group is the projector's own name: `mm` in an mmproj file, `multi_modal_projector` in
 * Hugging Face's own LLaVA.
 */
const projectorName = /^(?:.+\.)?(mm_projector|mm|multi_modal_projector)\./;

/** Of all names in a file those of a projector. */
export function layerNames(names: readonly string[]): string[] {
  return names.filter((name) => projectorName.test(name));
}

/** One linear layer: weight [out, in], bias [out]. */
type Linear = { readonly weight: TensorLocation; readonly bias: TensorLocation };

/** The family of projectors whose tensor names match `layout`, with any prefix. The file may also hold other tensors. */
export function layeredFamily(name: string, layout: Layout): LayeredFamily {
  return {
    name,
    layout,
    async open(file, signal, onProgress) {
      if (file.format === 'gguf') new MmprojFields(file).requireLlavaProjector();
      const found = findTensors(file);
      const layers = found && layout[found.kind];
      if (!layers || !found.places.every((place) => isOfOne(layers, place))) return undefined;
      const chain = chained(
        await withoutQuantization(file, { signal, onProgress }),
        layers.map((layer) => found.prefix + layer),
      );
      return {
        kind: name,
        inChannels: chain[0]!.weight.shape[1]!,
        outChannels: chain.at(-1)!.weight.shape[0]!,
        tensors: chain.flatMap(({ weight, bias }) => [weight, bias]),
        graph: () => build(chain),
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
  const layouts = families.map(({ layout }) => layout[kind] ?? []);
  const known = layouts.findLast((layers) => isOfOne(layers, places[0]!)) ?? [];
  const other = places.find((place) => !isOfOne(known, place))!;
  throw new LongVLMError(
    'ERR_LONGVLM_UNSUPPORTED',
    `${file.path}: tensor ${prefix}${other} belongs to a kind of projector that is not supported. Use a linear projector, or one of two layers with GELU.`,
  );
}

/** Finds tensors with a projector's name: their common prefix, and the sorted rest of their names. */
function findTensors(file: WeightFile): { prefix: string; kind: string; places: string[] } | undefined {
  const names = layerNames(tensorNames(file));
  if (names.length === 0) return undefined;
  const [prefix, kind] = projectorName.exec(names[0]!)! as unknown as [string, string];
  return { prefix, kind, places: names.map((name) => name.slice(prefix.length)).sort() };
}

function isOfOne(layers: readonly string[], place: string): boolean {
  return layers.some((layer) => place === `${layer}weight` || place === `${layer}bias`);
}

/** Finds the layers' tensors. The input width of each layer must equal the output width of the layer before. */
function chained(file: WeightFile, prefixes: readonly string[]): Linear[] {
  let inputs = -1;
  return prefixes.map((prefix) => {
    const weight = requireTensor(file, `${prefix}weight`, [-1, inputs]);
    const outputs = weight.shape[0]!;
    inputs = outputs;
    return { weight, bias: requireTensor(file, `${prefix}bias`, [outputs]) };
  });
}

function build(layers: readonly Linear[]): Promise<OnnxModel> {
  const graph = new GraphBuilder('projector');
  let value = graph.input('features', ['tokens', layers[0]!.weight.shape[1]!]);
  for (const [index, { weight, bias }] of layers.entries()) {
    if (index > 0) value = graph.node('Gelu', [value]);
    value = graph.node('Gemm', [value, graph.weight(weight), graph.weight(bias)], { transB: 1 });
  }
  graph.output('embeddings', value, ['tokens', layers.at(-1)!.weight.shape[0]!]);
  return graph.build();
}
