// How SmolVLM's and Idefics3's processors make frames square: first the longer edge gets its size, then the picture is squashed.
import * as v from 'valibot';
import { largestEdge } from '../../base/resize.js';
import { integer } from '../../base/schema.js';
import {
  type ConfigPart,
  damagedConfig,
  isObject,
  isSet,
  partOf,
  readPart,
  unsupportedConfig,
} from '../../files/configFile.js';
import { readImageProcessor, readVideoProcessor, type VisionFiles } from '../huggingFace/files.js';
import { readFilter, readNormalization, readProcessor } from '../huggingFace/pixels.js';
import type { PixelRules } from '../source.js';

const edge = integer(1, largestEdge);
const longest = v.object({ longest_edge: v.nullish(edge) });
const square = v.object({ height: edge, width: edge });
const resizing = v.object({ do_resize: v.nullish(v.boolean(), true) });

/**
 * Reads the settings of the video processor, which older files hold in those of the image processor. Without any, the frames go
 * through no size but the tower's own.
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_WEIGHTS`
 */
export async function readSmolvlmPixels(files: VisionFiles, imageSize: number): Promise<Omit<PixelRules, 'imageSize'>> {
  const root = (await readVideoProcessor(files)) ?? (await readImageProcessor(files));
  const processor = readProcessor(root, 'SmolVLMVideoProcessor');
  if (!readPart(resizing, root).do_resize)
    throw unsupportedConfig(root.file, 'do_resize false leaves frames in their own size', 'Set it to true.');
  const finished = partOf(root, 'max_image_size');
  const side = isObject(finished) ? (readPart(longest, finished).longest_edge ?? imageSize) : imageSize;
  if (side !== imageSize)
    throw damagedConfig(
      root.file,
      `it makes pictures of ${side} pixels, where the tower of config.json takes ${imageSize}`,
    );
  const longestEdge = longestEdgeOf(sizeOfVideos(root));
  return {
    ...readNormalization(root, processor),
    ...{ resize: 'squash', filter: readFilter(root, 1), shortestEdge: imageSize },
    ...(longestEdge !== undefined && { longestEdge }),
  };
}

/** The size that videos are first resized to: `video_sampling.video_size`, else that of pictures. */
function sizeOfVideos(root: ConfigPart): ConfigPart {
  const sampling = partOf(root, 'video_sampling');
  const size = isObject(sampling) ? partOf(sampling, 'video_size') : undefined;
  return size && isSet(size) ? size : partOf(root, 'size');
}

/** Undefined where the first size is a square: then squashing twice is squashing once. */
function longestEdgeOf(size: ConfigPart): number | undefined {
  if (!isSet(size)) return undefined;
  if (!isObject(size)) return readPart(edge, size);
  const found = readPart(longest, size).longest_edge;
  if (found === undefined || found === null) readPart(square, size);
  return found ?? undefined;
}
