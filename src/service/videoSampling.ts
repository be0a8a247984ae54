// How a request wants its video sampled.
import { wrongValue } from '../base/validate.js';
import type { SamplingRequest, SettledSampling } from '../encode/sampling.js';
import type { ChatRequest } from './chatRequest.js';

/**
 * The sampling that a request asks for. `longvlm` has the library's own names; without frames in it, those of
 * `media_io_kwargs.video` count, rounded to whole segments: vLLM's clients know of none.
 * @param defaults of videos for which nothing is asked
 * @param most the most frames of a video
 * @throws RangeError for more frames
 */
export function readVideoSampling(
  { media_io_kwargs, longvlm }: Pick<ChatRequest, 'media_io_kwargs' | 'longvlm'>,
  defaults: Pick<SettledSampling, 'fps' | 'segmentFrames'>,
  most: number,
): SamplingRequest {
  const { part: _, timestamps: __, template: ___, ...own } = longvlm ?? {};
  const sampling: SamplingRequest = { ...own };
  const video = media_io_kwargs?.video;
  if (own.frames === undefined && own.fps === undefined) {
    const { num_frames, fps } = { num_frames: video?.num_frames ?? -1, fps: video?.fps ?? -1 };
    const size = own.segmentFrames ?? defaults.segmentFrames;
    const whole = num_frames > 0 ? Math.max(1, Math.round(num_frames / size)) * size : undefined;
    if (fps > 0) Object.assign(sampling, { fps, maxFrames: own.maxFrames ?? whole });
    else if (whole !== undefined) sampling.frames = whole;
  }
  if (sampling.frames !== undefined && sampling.frames > most)
    wrongValue('frames', `integer from 1 to ${most}`, sampling.frames);
  if (sampling.frames === undefined && (sampling.fps ?? defaults.fps) !== undefined)
    sampling.maxFrames = Math.min(sampling.maxFrames ?? most, most);
  return sampling;
}
