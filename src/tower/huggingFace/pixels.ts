// What Hugging Face's image processors do with pixels, as far as it can be done here; anything else is refused.
import * as v from 'valibot';
import { integer, positiveNumber } from '../../base/schema.js';
import {
  type ConfigPart,
  damagedConfig,
  isObject,
  isSet,
  partOf,
  readPart,
  unsupportedConfig,
} from '../../files/configFile.js';
import { perChannel } from '../fields.js';
import type { PixelNormalization, PixelRules } from '../source.js';

const isOn = v.nullish(v.boolean(), true);
const isOff = v.nullish(v.boolean(), false);

const clipPixels = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
  crops: true,
} as const;
const halves = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], crops: false } as const;

// The processors of towers that see square frames, and what they do where their file does not say otherwise.
const processors = {
  CLIPImageProcessor: clipPixels,
  LlavaImageProcessor: clipPixels,
  LlavaNextImageProcessor: clipPixels,
  SiglipImageProcessor: halves,
  LlavaOnevisionImageProcessor: { ...clipPixels, crops: false },
  LlavaOnevisionVideoProcessor: { ...clipPixels, crops: false },
  SmolVLMImageProcessor: halves,
  SmolVLMVideoProcessor: halves,
  Idefics3ImageProcessor: halves,
  GotOcr2ImageProcessor: { ...clipPixels, crops: false },
  InternVLVideoProcessor: { ...clipPixels, crops: false },
  Gemma3ImageProcessor: halves,
} as const;

/** The name of an image or video processor. */
export type Processor = keyof typeof processors;

// Those that squash whole frames, whatever form their size has: LLaVA-NeXT puts one before its tiles.
const squashing: ReadonlySet<Processor> = new Set([
  ...(['LlavaNextImageProcessor', 'LlavaOnevisionImageProcessor', 'LlavaOnevisionVideoProcessor'] as const),
  ...(['GotOcr2ImageProcessor', 'InternVLVideoProcessor', 'Gemma3ImageProcessor'] as const),
]);

/** What processors do with pixels in any case: `(value · rescale - mean) / std`, after resizing. */
const normalizing = v.object({ do_normalize: isOn, do_rescale: isOn });

const switches = v.object({
  do_resize: isOn,
  do_pad: isOff,
  default_to_square: isOff,
  use_square_size: isOff,
});
const bicubicOnly = v.object({ resample: v.nullish(v.literal(3, '3 (bicubic)')) });
// As Pillow numbers them.
const filters = ['nearest', 'lanczos', 'bilinear', 'bicubic'] as const;
const words = '1 (Lanczos), 2 (bilinear) or 3 (bicubic)';
const anyFilter = v.object({ resample: v.nullish(v.picklist([1, 2, 3], words)) });
const rescaling = v.object({ rescale_factor: v.nullish(positiveNumber, 1 / 255) });
const typeNames = v.object({
  image_processor_type: v.nullish(v.string()),
  feature_extractor_type: v.nullish(v.string()),
  video_processor_type: v.nullish(v.string()),
});
const useAnother = 'Use a tower whose pictures are made as those of CLIP or LLaVA.';

/**
 * The filter by which a processor resizes frames that it squashes.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`
 */
export function readFilter(root: ConfigPart, fallback: 1 | 2 | 3): 'lanczos' | 'bilinear' | 'bicubic' {
  return filters[readPart(anyFilter, root, unsupportedConfig).resample ?? fallback] as 'lanczos';
}

/**
 * How a processor normalises pixels.
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` for damaged values
 */
export function readNormalization(root: ConfigPart, processor: Processor): PixelNormalization {
  const { do_normalize, do_rescale } = readPart(normalizing, root);
  const { mean: ownMean, std: ownStd } = processors[processor];
  // What is switched off is not read.
  const normalization = v.object({
    image_mean: v.nullish(perChannel, ownMean),
    image_std: v.nullish(perChannel, ownStd),
  });
  const { image_mean: mean, image_std: std } = do_normalize
    ? readPart(normalization, root)
    : ({ image_mean: [0, 0, 0], image_std: [1, 1, 1] } as const);
  const { rescale_factor: rescale } = do_rescale ? readPart(rescaling, root) : { rescale_factor: 1 };
  return { mean, std, rescale };
}

/**
 * How frames become a tower's pixels, by the settings of an image processor.
 * @param usual the processor that such a model has where its file names none
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for what is not done here; `ERR_LONGVLM_WEIGHTS` for damaged values
 */
export function readPixels(root: ConfigPart, usual: Processor, imageSize: number): Omit<PixelRules, 'imageSize'> {
  const processor = readProcessor(root, usual);
  const { do_resize, do_pad, ...squares } = readPart(switches, root);
  const refuse = (cause: string) => unsupportedConfig(root.file, cause, useAnother);
  if (!do_resize) throw refuse('do_resize false leaves frames in their own size');
  if (squares.use_square_size) throw refuse('use_square_size is not supported');
  for (const key of ['pad_size', 'max_size'] as const)
    if (isSet(partOf(root, key))) throw refuse(`${partOf(root, key).name} is not supported`);
  const { mean, std, rescale } = readNormalization(root, processor);
  const pads = do_pad && processor === 'LlavaImageProcessor';
  // Padding takes the mean as a colour, of 255 parts.
  if (pads && (!isOnOrAbsent(root, 'do_normalize') || Math.abs(rescale * 255 - 1) > 1e-6))
    throw refuse('do_pad without do_normalize, or with another rescale_factor than 1/255, is not supported');
  const { crops } = processors[processor];
  const edges = readPart(v.object({ do_center_crop: v.nullish(v.boolean(), crops) }), root).do_center_crop
    ? { cropped: readEdges(partOf(root, 'crop_size'), imageSize, true).pixels }
    : {};
  const size = partOf(root, 'size');
  const isSquare = squares.default_to_square || (processor === 'SiglipImageProcessor' && !isSet(size));
  const resized = readEdges(size, imageSize, isSquare);
  const squashes = resized.isSquare || squashing.has(processor);
  return {
    mean,
    std,
    rescale,
    ...readResize(root, imageSize, { ...edges, pixels: resized.pixels, squashes, pads }),
  };
}

function isOnOrAbsent(root: ConfigPart, key: string): boolean {
  return partOf(root, key).value !== false;
}

type Edges = {
  /** Edge of the picture after resizing: the shorter one unless it is squashed. */
  readonly pixels: number;
  /** Edge of the crop; undefined if nothing is cropped. */
  readonly cropped?: number;
  readonly squashes: boolean;
  readonly pads: boolean;
};

function readResize(root: ConfigPart, imageSize: number, { pixels, cropped, squashes, pads }: Edges) {
  const refuse = (cause: string) => unsupportedConfig(root.file, cause, useAnother);
  const [resized, crop] = [partOf(root, 'size').name, partOf(root, 'crop_size').name];
  if (cropped === undefined && !squashes && !pads)
    throw refuse(
      `${resized} is that of the shortest edge and nothing is cropped, which leaves frames that are not square`,
    );
  const side = cropped ?? pixels;
  if (side !== imageSize)
    throw damagedConfig(
      root.file,
      `it makes pictures of ${side} pixels, where the tower of config.json takes ${imageSize}`,
    );
  if (cropped !== undefined && cropped > pixels)
    throw refuse(`${crop} ${cropped} is above ${resized} ${pixels}, which frames pictures in black`);
  if ((squashes || pads) && pixels !== imageSize)
    throw refuse(`${crop} ${side} of pictures that are made square with ${resized} ${pixels} is not supported`);
  if (squashes && !pads) return { resize: 'squash', filter: readFilter(root, 3), shortestEdge: pixels } as const;
  readPart(bicubicOnly, root, unsupportedConfig);
  return { resize: pads ? 'pad' : 'crop', shortestEdge: pixels } as const;
}

/**
 * The kind of image processor: the one that is named, in any of its versions, else the usual one of this type of model.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`
 */
export function readProcessor(root: ConfigPart, usual: Processor): Processor {
  const names = readPart(typeNames, root);
  const named =
    names.image_processor_type ??
    names.video_processor_type ??
    names.feature_extractor_type?.replace('FeatureExtractor', 'ImageProcessor');
  const plain = (named ?? usual).replace(/(Fast|Pil)$/, '');
  if (Object.hasOwn(processors, plain)) return plain as Processor;
  throw unsupportedConfig(root.file, `an image processor of type '${named}' is not supported`, useAnother);
}

const edgeNames = ['shortest_edge', 'height', 'width'];

// 224, { shortest_edge: 224 } or { height: 224, width: 224 }.
function readEdges(edges: ConfigPart, imageSize: number, isSquare: boolean): { pixels: number; isSquare: boolean } {
  const edge = v.nullish(integer(1), imageSize);
  if (!isObject(edges)) return { pixels: readPart(edge, edges), isSquare };
  const given = Object.keys(edges.value as object).filter((key) => isSet(partOf(edges, key)));
  const other = given.find((key) => !edgeNames.includes(key));
  if (other !== undefined)
    throw unsupportedConfig(edges.file, `${partOf(edges, other).name} is not supported`, useAnother);
  if (!given.includes('shortest_edge')) {
    const { height, width } = readPart(v.object({ height: edge, width: edge }), edges);
    if (height !== width) throw damagedConfig(edges.file, `${edges.name} ${width}x${height} is not square`);
    return { pixels: height, isSquare: true };
  }
  if (given.length > 1)
    throw damagedConfig(edges.file, `${edges.name} names a shortest edge, and height or width, too`);
  return { pixels: readPart(v.object({ shortest_edge: edge }), edges).shortest_edge, isSquare: false };
}
