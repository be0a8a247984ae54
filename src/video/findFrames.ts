import { LongVLMError } from '../base/errors.js';
import { decodeTimes, type Source } from './decode.js';
import { FrameTable } from './frameTable.js';
import type { Packets } from './packets.js';
import type { StreamInfo } from './streamInfo.js';

/** Number of frames that are decoded to check that packets and frames correspond: more than any decoder reorders. */
const CHECKED_FRAMES = 64;

/** Finds the frames that a decoder outputs: from the packets if these are reliable, else by decoding. */
export async function findFrames(
  source: Source,
  packets: Packets,
  stream: StreamInfo,
  container: string,
  signal: AbortSignal | undefined,
): Promise<FrameTable> {
  // Any VP8 packet may be a frame that is never shown.
  const table = stream.codec === 'vp8' ? undefined : FrameTable.fromPackets(packets, container);
  if (table) {
    const { times } = await decodeTimes(source, { maxFrames: CHECKED_FRAMES, absolute: true }, signal);
    const first = times.length > 0 ? table.indexOf(times[0]!) : -1;
    const agrees = first >= 0 && times.every((time, i) => time === table.pts[first + i]);
    const complete = times.length >= Math.min(CHECKED_FRAMES, table.length - first);
    // A recording may start within a group of pictures: frames before its first keyframe cannot be decoded.
    if (agrees && complete) return first === 0 ? table : table.withoutFirst(first, packets, container);
  }
  const { times, complaint } = await decodeAll(source, signal);
  if (times.length === 0)
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `No picture of '${source.file.name}' (${stream.codec}) can be decoded${complaint ? `: ${complaint}` : ''}. Convert it with another program, or use an ffmpeg that has its decoder.`,
    );
  return FrameTable.fromDecoded(packets, times, stream.frameRate, container);
}

/** Decodes everything. If timestamps restart within the file, ffmpeg's corrected timestamps are used. */
async function decodeAll(source: Source, signal: AbortSignal | undefined) {
  const decoded = await decodeTimes(source, { absolute: true }, signal);
  const rising = decoded.times.every((time, i, all) => i === 0 || time > all[i - 1]!);
  return rising ? decoded : { ...decoded, times: decoded.times.map(() => Number.NaN) };
}
