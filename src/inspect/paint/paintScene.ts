// Scenes as pixels, on any machine: no browser, no fonts of the system.
import { Pace } from '../../base/pace.js';
import type { Scene, Shape } from '../draw/scene.js';
import type { Picture } from '../jpeg.js';
import { Canvas, widthOf } from './canvas.js';

/** What is painted on what. */
type Painting = {
  readonly canvas: Canvas;
  readonly scale: number;
  readonly pictures: readonly Picture[];
  readonly pace: Pace;
  readonly signal: AbortSignal | undefined;
};

/**
 * Paints a scene in the colours of a light page.
 * @param pictures the frames of the video, by their numbers
 * @param options `scale`: pixels for each of the scene's. Defaults to 2.
 */
export async function paintScene(
  { width, height, shapes }: Scene,
  pictures: readonly Picture[],
  options: { readonly scale?: number; readonly signal?: AbortSignal | undefined } = {},
): Promise<Picture> {
  const { scale = 2, signal } = options;
  const canvas = new Canvas(Math.ceil(width * scale), Math.ceil(height * scale));
  await paintAll(shapes, 0, 0, { canvas, scale, pictures, pace: new Pace(), signal });
  return canvas;
}

async function paintAll(shapes: readonly Shape[], x: number, y: number, painting: Painting): Promise<void> {
  const { pace, signal } = painting;
  for (const shape of shapes) {
    if (pace.isDue) await pace.rest();
    signal?.throwIfAborted();
    if (shape.kind === 'group') await paintAll(shape.shapes, x + shape.x, y + shape.y, painting);
    else paint(shape, x, y, painting);
  }
}

function paint(shape: Exclude<Shape, { kind: 'group' }>, x: number, y: number, { canvas, scale, pictures }: Painting) {
  const place = (rect: { x: number; y: number; width: number; height: number }) =>
    [(x + rect.x) * scale, (y + rect.y) * scale, rect.width * scale, rect.height * scale] as const;
  switch (shape.kind) {
    case 'rect':
      canvas.rect(...place(shape), shape.color.rgb, shape.opacity ?? 1, (shape.radius ?? 0) * scale);
      break;
    case 'rects':
      for (const rect of shape.rects) canvas.rect(...place(rect), shape.color.rgb, shape.opacity ?? 1);
      break;
    case 'image': {
      const picture = pictures[shape.frame];
      if (picture) canvas.picture(...place(shape), picture);
      break;
    }
    case 'text': {
      const size = shape.size * scale;
      const width = shape.anchor === undefined || shape.anchor === 'start' ? 0 : widthOf(shape.text, size);
      const left = (x + shape.x) * scale - (shape.anchor === 'middle' ? width / 2 : width);
      canvas.text(
        left,
        (y + shape.y) * scale,
        shape.text,
        size,
        shape.color.rgb,
        shape.opacity ?? 1,
        shape.bold ?? false,
      );
    }
  }
}
