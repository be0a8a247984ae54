// The arguments of the native reducers, and of their parts. All tensors are on the host.

type NativeTensor = Float32Array | Uint16Array;

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
  readonly outIndices: Int32Array;
};

/** The outputs hold `frames · (salient + context)` tokens; `outCounts` says how many are written. */
export type NativeFastVidArgs = {
  readonly tokens: NativeTensor;
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
  readonly outTokens: NativeTensor;
  readonly outIndices: Int32Array;
  readonly outSizes: Float32Array;
  readonly outStarts: Int32Array;
  readonly outCounts: Int32Array;
};

/** The outputs hold `frames · (budget + 1)` tokens; `outCounts`: how many are written, merged over time, merged in clusters. */
export type NativeFlashVidArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly attention: Float32Array | undefined;
  readonly budget: number;
  readonly picked: number;
  readonly temporalThreshold: number;
  readonly segmentThreshold: number;
  readonly segments: number;
  readonly referenceCounts: boolean;
  readonly clusterPicked: boolean;
  readonly outTokens: NativeTensor;
  readonly outIndices: Int32Array;
  readonly outSizes: Float32Array;
  readonly outStarts: Int32Array;
  readonly outCounts: Int32Array;
};

export type NativeSegmentFramesArgs = {
  readonly features: Float32Array;
  readonly dims: NativeDims;
  readonly threshold: number;
  readonly segments: number;
  readonly outCosines: Float32Array;
  readonly outStarts: Int32Array;
};

export type NativeTemporalSimilarityArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly best: boolean;
  readonly outCosines: Float32Array;
  readonly outMatches: Int32Array | undefined;
};

export type NativeSelectTopKArgs = {
  readonly scores: Float32Array;
  readonly dims: NativeDims;
  readonly budgets: Int32Array;
  readonly total: number;
  readonly outIndices: Int32Array;
};

export type NativeGatherTokensArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly count: number;
  readonly indices: Int32Array;
  readonly outTokens: NativeTensor;
};

/** A `beta` below 0 gives plain means. */
export type NativeAssignToAnchorsArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly count: number;
  readonly anchors: Int32Array;
  readonly beta: number;
  readonly outAssignment: Int32Array;
  readonly outCosines: Float32Array;
  readonly outSizes: Float32Array;
  readonly outTokens: NativeTensor;
};

export type NativeDensityPeaksArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly neighbours: number;
  readonly clusters: number;
  readonly outDensities: Float32Array;
  readonly outDistances: Float32Array;
  readonly outCentres: Int32Array;
  readonly outClusters: Int32Array;
};

export type NativeSelectDiverseArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly count: number;
  readonly weights: Float32Array | undefined;
  readonly outPicked: Int32Array;
};

export type NativeGaussianScoresArgs = {
  readonly tokens: NativeTensor;
  readonly dims: NativeDims;
  readonly outVideo: Float32Array;
  readonly outFrame: Float32Array;
};
