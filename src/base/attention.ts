/**
 * Whose attention a vision tower can give: that of its class token in the layer that its patches come from, or that of the probe in
 * its pooling head.
 */
export const attentionKinds = ['cls', 'pooling'] as const;

/** One of {@link attentionKinds}. */
export type AttentionKind = (typeof attentionKinds)[number];

/** What tokens are ranked by: the tower's attention; their lengths (`norm`); or nothing but how they differ (`div`). */
export const attentionSources = [...attentionKinds, 'norm', 'div'] as const;

/** One of {@link attentionSources}. */
export type AttentionSource = (typeof attentionSources)[number];
