// From a video file to its features: frames, tower, merging, pooling.
import path from 'node:path';
import { type Float32Tensor, float32Tensor } from '../base/tensor.js';
import { poolClsTokens } from '../kernels/index.js';
import { frameGeometry } from '../tower/preprocess.js';
import type { VisionEncoder } from '../tower/visionEncoder.js';
import { readSegments } from '../video/frames.js';
import { probeVideo } from '../video/probe.js';
import { type Sampling, VideoFeatures } from './videoFeatures.js';

/** How far an encoding has come. */
export type EncodeProgress = {
  /** `probe`: reading the file's structure. `encode`: frames go through the tower. */
  readonly stage: 'probe' | 'encode';
  /** Frames encoded so far. */
  readonly frames: number;
  readonly totalFrames: number;
};

/** Samples, encodes and merges a video. Throws what reading it and the tower throw. */
export async function encodeVideo(
  vision: VisionEncoder,
  video: string,
  sampling: Sampling,
  options: { ffmpeg?: string; onProgress?: (progress: EncodeProgress) => void; signal?: AbortSignal },
): Promise<VideoFeatures> {
  const { frames, segmentFrames, tokensPerSegment, globalLayers, resize, reduction, mergeHeads } = sampling;
  const { onProgress, ...tools } = options;
  const { signal } = tools;
  const report = (stage: EncodeProgress['stage'], done: number) =>
    onProgress?.({ stage, frames: done, totalFrames: frames });

  report('probe', 0);
  const info = await probeVideo(video, tools);
  const { channels } = vision.config;
  const segments = frames / segmentFrames;
  const local = new Float32Array(segments * tokensPerSegment * channels);
  const sizes = new Float32Array(segments * tokensPerSegment);
  const cls = new Float32Array(frames * globalLayers * channels);
  const timestamps = new Float32Array(frames);
  report('encode', 0);
  const geometry = frameGeometry(vision.config, resize);
  for await (const segment of readSegments(info, { frames, segmentFrames, geometry, ...tools })) {
    const encoded = await vision.encodeSegment(segment.frames, {
      tokensPerSegment,
      reduction,
      heads: mergeHeads,
      ...(signal && { signal }),
    });
    local.set(encoded.local.data, segment.index * tokensPerSegment * channels);
    sizes.set(encoded.sizes.data, segment.index * tokensPerSegment);
    cls.set(encoded.cls.data, segment.index * segmentFrames * globalLayers * channels);
    timestamps.set(segment.timestamps, segment.index * segmentFrames);
    report('encode', (segment.index + 1) * segmentFrames);
  }
  const global = await poolClsTokens(float32Tensor(cls, [frames, globalLayers, channels]));
  const turned = info.rotation % 180 !== 0;
  return new VideoFeatures({
    local: float32Tensor(local, [segments, tokensPerSegment, channels]),
    global: global as Float32Tensor,
    sizes: float32Tensor(sizes, [segments, tokensPerSegment]),
    timestamps,
    sampling,
    tower: vision.identity,
    source: {
      name: path.basename(video),
      durationSeconds: info.durationSeconds,
      frameCount: info.frameCount,
      width: turned ? info.height : info.width,
      height: turned ? info.width : info.height,
      warnings: info.warnings,
    },
  });
}
