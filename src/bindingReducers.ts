// Memory on a GPU, and the arguments of the native reducers and of their parts.

/** Memory on a GPU, of one element type. */
export type NativeDeviceBuffer = { readonly __brand: 'NativeDeviceBuffer' };

export type AllocateDeviceBufferArgs = {
  /** The library of GPU kernels. */
  readonly library: string;
  readonly device: number;
  readonly type: 'float32' | 'float16' | 'bfloat16' | 'int32' | 'uint8';
  /** Values, not bytes. */
  readonly count: number;
};

/** `from` and `count` in values. */
export type ViewDeviceBufferArgs = {
  readonly buffer: NativeDeviceBuffer;
  readonly from: number;
  readonly count: number;
};

/** On the host. */
type HostTensor = Float32Array | Uint16Array;

/** All tensors of a call are on the host, or on the same GPU. */
type NativeTensor = HostTensor | NativeDeviceBuffer;

type NativeFloats = Float32Array | NativeDeviceBuffer;

type NativeIntegers = Int32Array | NativeDeviceBuffer;

type NativeDims = readonly [number, number, number];

/** `outTokens` has the type of `tokens`, here and below. */
export type NativeVCastArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly total: number;
  readonly least: number;
  readonly temperature: number;
  readonly leftoverByReference: boolean;
  readonly outTokens: NativeTensor;
  readonly outIndices: NativeIntegers;
};

/**
 * With a `total` of 0 the `ratio` counts, and the outputs hold as many tokens as the frames and `frames · patches · ratio`, rounded
 * down, together with 1, but no more than all; else `total`. `outCounts` says how many are written. Tokens are gathered on a GPU
 * alone.
 */
export type NativeVidCom2Args = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly total: number;
  readonly ratio: number;
  readonly outTokens?: NativeTensor;
  readonly outIndices: NativeIntegers;
  readonly outCounts: NativeIntegers;
};

/** Of tokens on a GPU only, as the next. */
export type NativeFrameMeansArgs = {
  readonly tokens: NativeDeviceBuffer;
  readonly dims: NativeDims;
  readonly out: NativeDeviceBuffer;
};

/** `count`: the slots; of lengths alone 0, without `assignment` and `slots`. `out`: bytes of float64 [tokens, 2]. */
export type NativeSlotProductsArgs = {
  readonly tokens: NativeDeviceBuffer;
  readonly dims: NativeDims;
  readonly count: number;
  readonly assignment: NativeDeviceBuffer | undefined;
  readonly slots: NativeDeviceBuffer | undefined;
  readonly out: NativeDeviceBuffer;
};

export type NativeEvsArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly total: number;
  readonly outTokens: NativeTensor;
  readonly outIndices: NativeIntegers;
};

/** The outputs hold `frames · (salient + context)` tokens; `outCounts` says how many are written. */
export type NativeFastVidArgs = {
  readonly tokens: HostTensor;
  readonly dims: NativeDims;
  readonly attention: Float32Array;
  readonly frameFeatures: Float32Array | undefined;
  readonly featureWidth: number;
  readonly salient: number;
  readonly context: number;
  readonly segments: number;
  readonly threshold: number;
  readonly anchorStep: number;
  readonly beta: number;
  readonly outTokens: HostTensor;
  readonly outIndices: Int32Array;
  readonly outSizes: Float32Array;
  readonly outStarts: Int32Array;
  readonly outCounts: Int32Array;
  readonly outOwners: Int32Array;
};

/** The outputs hold `frames · (budget + 1)` tokens; `outCounts`: how many are written, merged over time, merged in clusters. */
export type NativeFlashVidArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly attention: NativeFloats | undefined;
  readonly budget: number;
  readonly picked: number;
  readonly temporalThreshold: number;
  readonly segmentThreshold: number;
  readonly segments: number;
  readonly referenceCounts: boolean;
  readonly clusterPicked: boolean;
  readonly exactBudget: boolean;
  readonly outTokens: NativeTensor;
  readonly outIndices: NativeIntegers;
  readonly outSizes: NativeFloats;
  readonly outStarts: NativeIntegers;
  readonly outCounts: NativeIntegers;
  /** On the host alone. */
  readonly outOwners?: Int32Array;
};

export type NativeSegmentFramesArgs = {
  readonly features: NativeFloats;
  readonly dims: NativeDims;
  readonly threshold: number;
  readonly segments: number;
  readonly outCosines: NativeFloats;
  readonly outStarts: NativeIntegers;
};

export type NativeTemporalSimilarityArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly best: boolean;
  readonly outCosines: NativeFloats;
  readonly outMatches: NativeIntegers | undefined;
};

export type NativeSelectTopKArgs = {
  readonly scores: NativeFloats;
  readonly dims: NativeDims;
  readonly budgets: NativeIntegers;
  readonly total: number;
  readonly outIndices: NativeIntegers;
};

export type NativeGatherTokensArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly count: number;
  readonly indices: NativeIntegers;
  readonly outTokens: NativeTensor;
};

/** `schedule`: tokens of a frame that each step merges, at most half of those left. */
export type NativeAimArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly schedule: readonly number[];
  readonly outTokens: NativeTensor;
  readonly outIndices: NativeIntegers;
  readonly outSizes: NativeFloats;
  /** On the host alone. */
  readonly outOwners?: Int32Array;
};

/** A `beta` below 0 gives plain means. */
export type NativeAssignToAnchorsArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly count: number;
  readonly anchors: NativeIntegers;
  readonly beta: number;
  readonly outAssignment: NativeIntegers;
  readonly outCosines: NativeFloats;
  readonly outSizes: NativeFloats;
  readonly outTokens: NativeTensor;
};

export type NativeDensityPeaksArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly neighbours: number;
  readonly clusters: number;
  readonly outDensities: NativeFloats;
  readonly outDistances: NativeFloats;
  readonly outCentres: NativeIntegers;
  readonly outClusters: NativeIntegers;
};

export type NativeSelectDiverseArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly count: number;
  readonly weights: NativeFloats | undefined;
  readonly outPicked: NativeIntegers;
};
