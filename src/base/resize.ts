/** The names of {@link Resize}. */
export const resizes = ['crop', 'squash', 'pad'] as const;

/** How frames are made square: `crop` as CLIP does, `squash` as LongVLM's reference loader does, `pad` as LLaVA-1.5 does. */
export type Resize = (typeof resizes)[number];

/** The names of {@link SquashFilter}. */
export const squashFilters = ['nearest', 'bilinear', 'bicubic', 'lanczos'] as const;

/** How the pixels of a frame that is squashed are found: the nearest, or a weighted sum, with antialiasing. */
export type SquashFilter = (typeof squashFilters)[number];

/** Most pixels of an edge of a frame. */
export const largestEdge = 16_384;
