// The reducers of a video's tokens and their parts: the package's functions, and the addon's below their checks.
import * as longvlm from 'longvlm';
import { type AnyFunction, type Call, floats, nativeCall, publicCall, tensor } from './spoiled.js';

// Three frames of six tokens of four channels.
const dims = () => [3, 6, 4];
const video = () => ({ tokens: floats(72), dims: dims() });
const outputs = (count: number, counts: number) => ({
  ...{ outTokens: new Float32Array(count * 4), outIndices: new Int32Array(count), outSizes: new Float32Array(count) },
  ...{ outStarts: new Int32Array(3), outCounts: new Int32Array(counts), outOwners: new Int32Array(18) },
});

export const nativeReducerCalls: readonly Call[] = [
  nativeCall('vCast', () => ({
    ...{ ...video(), total: 6, least: 1, temperature: 0.1, leftoverByReference: false },
    ...{ outTokens: new Float32Array(24), outIndices: new Int32Array(6) },
  })),
  nativeCall('fastVid', () => ({
    ...{ ...video(), attention: floats(18), frameFeatures: floats(6), featureWidth: 2, salient: 2, context: 1 },
    ...{ segments: 2, threshold: 0.9, anchorStep: 2, beta: 0.6, ...outputs(9, 1) },
  })),
  nativeCall('flashVid', () => ({
    ...{ ...video(), attention: floats(18), budget: 3, picked: 2, temporalThreshold: 0.8, segmentThreshold: 0.9 },
    ...{ segments: 2, referenceCounts: false, clusterPicked: false, exactBudget: false, ...outputs(12, 3) },
  })),
  nativeCall('segmentFrames', () => ({
    ...{ features: floats(12), dims: [1, 3, 4], threshold: 0.9, segments: 2 },
    ...{ outCosines: new Float32Array(2), outStarts: new Int32Array(3) },
  })),
  nativeCall('temporalSimilarity', () => ({
    ...{ ...video(), best: true, outCosines: new Float32Array(12), outMatches: new Int32Array(12) },
  })),
  nativeCall('selectTopK', () => ({
    ...{ scores: floats(18), dims: [1, 3, 6], budgets: new Int32Array([1, 2, 3]), total: 6 },
    outIndices: new Int32Array(6),
  })),
  nativeCall('gatherTokens', () => ({
    ...{ ...video(), count: 3, indices: new Int32Array([1, 7, 17]), outTokens: new Float32Array(12) },
  })),
  nativeCall('assignToAnchors', () => ({
    ...{ tokens: floats(24), dims: [1, 6, 4], count: 2, anchors: new Int32Array([1, 4]), beta: 0.5 },
    ...{ outAssignment: new Int32Array(6), outCosines: new Float32Array(6), outSizes: new Float32Array(2) },
    outTokens: new Float32Array(8),
  })),
  nativeCall('densityPeaks', () => ({
    ...{ ...video(), neighbours: 3, clusters: 2, outDensities: new Float32Array(18) },
    ...{ outDistances: new Float32Array(18), outCentres: new Int32Array(6), outClusters: new Int32Array(18) },
  })),
  nativeCall('selectDiverse', () => ({ ...video(), count: 2, weights: floats(18), outPicked: new Int32Array(6) })),
  nativeCall('vidCom2', () => ({
    ...{ ...video(), total: 6, ratio: 1, outTokens: new Float32Array(24), outIndices: new Int32Array(6) },
    outCounts: new Int32Array(1),
  })),
  nativeCall('aim', () => ({
    ...{ ...video(), schedule: [3], outTokens: new Float32Array(36), outIndices: new Int32Array(9) },
    ...{ outSizes: new Float32Array(9), outOwners: new Int32Array(18) },
  })),
  nativeCall('embeddingsInput', () => ({ context: {}, contextSize: 64 })),
  nativeCall('evaluateEmbeddings', () => ({
    ...{ context: {}, contextSize: 64, sequence: 0, first: 0, count: 2, width: 4, embeddings: new Float32Array(8) },
    ...{ positions: new Int32Array(6), causal: true },
  })),
];

const exported = longvlm as unknown as Record<string, AnyFunction>;
const reducer = (name: string, options: () => Record<string, unknown>): Call =>
  publicCall(exported[name]!, () => [tensor(3, 6, 4), { ...options(), signal: undefined }]);

export const publicReducerCalls: readonly Call[] = [
  reducer('vCast', () => ({ retentionRatio: 0.3, minTokens: 1, temperature: 0.1, leftover: 'remainder' })),
  reducer('fastVid', () => ({
    ...{ attention: tensor(3, 6), frameFeatures: tensor(3, 2), retentionRatio: 0.5, segments: 2, threshold: 0.9 },
    ...{ contextRatio: 0.4, anchorStep: 2, beta: 0.6 },
  })),
  reducer('flashVid', () => ({
    ...{ attention: tensor(3, 6), retentionRatio: 0.5, alpha: 0.7, temporalThreshold: 0.8, segmentThreshold: 0.9 },
    ...{ minSegments: 2, referenceCounts: true, clusterPicked: false },
  })),
  reducer('evs', () => ({ retentionRatio: 0.5 })),
  reducer('vidCom2', () => ({ retentionRatio: 0.5 })),
  reducer('aim', () => ({ steps: 2 })),
  reducer('uniform', () => ({ retentionRatio: 0.5 })),
  reducer('random', () => ({ retentionRatio: 0.5, seed: 3 })),
  reducer('temporalSimilarity', () => ({ match: 'best' })),
  reducer('densityPeaks', () => ({ clusters: 2, neighbours: 3 })),
  publicCall(exported.segmentFrames!, () => [tensor(3, 4), { threshold: 0.9, minSegments: 2, signal: undefined }]),
  publicCall(exported.selectTopK!, () => [tensor(3, 6), [1, 2, 3], { signal: undefined }]),
  publicCall(exported.selectDiverse!, () => [tensor(3, 6, 4), 2, { weights: tensor(3, 6), signal: undefined }]),
  publicCall(exported.assignToAnchors!, () => [tensor(6, 4), [1, 4], { beta: 0.6, signal: undefined }]),
];
