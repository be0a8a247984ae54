// What a language model sees of a video, as plain JSON. Nothing in here needs Node: browsers read inspections, too.

/** What a language model sees of a video. All of it is JSON. Times are seconds. */
export type Inspection = {
  readonly object: 'inspection';
  readonly version: 1;
  readonly video: InspectedVideo;
  /** Names of the models: never paths. */
  readonly models: { readonly name?: string; readonly vision: string; readonly llm?: string };
  readonly method: InspectedMethod;
  /**
   * The patches of a segment: `steps` of `rows` by `columns`. A step is a frame, or as many as `framesPerStep` says, whose patches
   * belong to all of them. Where the tower stands before its projector in one graph, patches are what comes out of it. Undefined
   * for features of old releases.
   */
  readonly grid?: InspectedGrid;
  /** Where each layer's class token became a global token: how many, and which of the tower's `of` layers, from 1. */
  readonly global: { readonly tokens: number; readonly layers: readonly number[]; readonly of: number };
  /** In the order of the video; a single one where it was reduced as a whole. */
  readonly segments: readonly InspectedSegment[];
  readonly tokens: InspectedTokens;
  /** What the language model is given before its first answer, in order; undefined where none is loaded. */
  readonly prompt?: readonly PromptSpan[];
  /** What cannot be shown, and other things to know, in sentences. */
  readonly notes: readonly string[];
};

export type InspectedVideo = {
  readonly name: string;
  readonly durationSeconds: number;
  readonly frameCount: number;
  /** Pixels, as displayed. */
  readonly width: number;
  readonly height: number;
  readonly warnings: readonly string[];
};

export type InspectedMethod = {
  /** How patches became tokens, such as `merge`. */
  readonly reduction: string;
  readonly options?: Readonly<Record<string, number | string | boolean>>;
  /** What a method for whole videos says that it did. */
  readonly text?: string;
  /** Whether the video was reduced as a whole: then it is one segment. */
  readonly whole: boolean;
  /** Which of its tokens the language model sees. */
  readonly part: 'both' | 'local' | 'global';
  readonly frames: number;
  readonly segmentFrames: number;
  readonly tokensPerSegment: number;
  /** How frames were made the tower's size: thumbnails are what it saw. */
  readonly resize: string;
  readonly fps?: number;
  readonly start?: number;
  readonly end?: number;
};

export type InspectedGrid = {
  readonly steps: number;
  readonly framesPerStep: number;
  readonly rows: number;
  readonly columns: number;
};

export type InspectedSegment = {
  readonly index: number;
  /** From its first frame to that of the next segment. */
  readonly start: number;
  readonly end: number;
  readonly frames: readonly InspectedFrame[];
  /** How many patches each token stands for. */
  readonly sizes: readonly number[];
  /**
   * For tokens that have places: of each the index of its patch in the segment, `(step · rows + row) · columns + column`, ascending.
   * Undefined for means without a place, and where all patches were kept.
   */
  readonly positions?: readonly number[];
  /** Into which token each patch went. Undefined where the method does not tell it. */
  readonly owners?: Owners;
};

export type InspectedFrame = {
  readonly time: number;
  /** The frame as the tower got it, but smaller: a data URL of a JPEG. Undefined where none was asked for, or none can be had. */
  readonly thumbnail?: string;
};

/**
 * For each patch of a segment, in the order of their indices, one little-endian integer in base64: 0 for a patch that was dropped,
 * else 1 + the index of the token that it went into. {@link readOwners} reads it.
 */
export type Owners = { readonly type: 'uint8' | 'uint16' | 'uint32'; readonly data: string };

export type InspectedTokens = {
  /** Before the reduction: patches of all frames. */
  readonly patches: number;
  readonly global: number;
  readonly local: number;
  /** Embeddings that end a video, where the model has one. */
  readonly ending: number;
  /** Of these, what the language model sees. */
  readonly video: number;
  /** Tokens of text in the prompt; undefined without a language model. */
  readonly text?: number;
  /** All tokens of the prompt. */
  readonly prompt?: number;
  /** The longest context that the language model was trained for. */
  readonly context?: number;
};

/** A part of a prompt: text, or the rows [from, to) of the video's tokens: first global, then local ones, then the ending. */
export type PromptSpan =
  | { readonly kind: 'text'; readonly text: string; readonly tokens: number }
  | { readonly kind: 'video'; readonly from: number; readonly to: number };

const bytesOf = { uint8: 1, uint16: 2, uint32: 4 } as const;
const charsAtOnce = 0x2000;

/** @param owners for each patch the index of its token, or -1; below `tokens` */
export function writeOwners(owners: Int32Array, tokens: number): Owners {
  const type = tokens < 0x100 ? 'uint8' : tokens < 0x10000 ? 'uint16' : 'uint32';
  const width = bytesOf[type];
  const bytes = new Uint8Array(owners.length * width);
  for (const [index, owner] of owners.entries())
    for (let byte = 0; byte < width; byte++) bytes[index * width + byte] = (owner + 1) >>> (8 * byte);
  return { type, data: toBase64(bytes) };
}

/** For each patch of a segment the index of the token that it went into, or -1 if it was dropped. */
export function readOwners({ type, data }: Owners): Int32Array {
  const text = atob(data);
  const width = bytesOf[type];
  return Int32Array.from({ length: Math.floor(text.length / width) }, (_, index) => {
    let value = 0;
    for (let byte = width - 1; byte >= 0; byte--) value = value * 256 + text.charCodeAt(index * width + byte);
    return value - 1;
  });
}

/** Bytes in base64. */
export function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += charsAtOnce)
    text += String.fromCharCode(...bytes.subarray(at, at + charsAtOnce));
  return btoa(text);
}
