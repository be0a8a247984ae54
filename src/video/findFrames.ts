import { LongVLMError } from '../base/errors.js';
import { decodeTimes, type Source } from './decode.js';
import { FrameTable, isSearched } from './frameTable.js';
import { DISCARD, type Packets } from './packets.js';
import { decodingMicroseconds } from './plan.js';
import { seekProofOf } from './seekProof.js';
import type { StreamInfo } from './streamInfo.js';

/** Number of frames that are decoded to check that packets and frames correspond: more than any decoder reorders. */
const CHECKED_FRAMES = 64;
/** Videos that take less than this to decode are decoded completely, which leaves nothing to guess. */
const SHORT_MICROSECONDS = 400_000;
/** Codecs in which a packet of a few bytes says that there is no new picture. */
const MAY_SKIP_PICTURES = /^(mpeg4|msmpeg4v\d|wmv\d|vc1|h263)$/;
const SKIP_BYTES = 8;
/** What ffmpeg says of packets of H.264 without a picture, which no decoder shows. */
const PICTURELESS = /missing picture in access unit/;

/**
 * Finds the frames that a decoder outputs: from the packets if these are reliable, else by decoding.
 *
 * @param complaint What ffmpeg said of the packets.
 * @returns The frames, and what is to be said of their times, in sentences.
 */
export async function findFrames(
  source: Source,
  packets: Packets,
  stream: StreamInfo,
  { container, complaint }: { container: string; complaint: string },
  signal: AbortSignal | undefined,
): Promise<{ table: FrameTable; warnings: string[] }> {
  const seeking = { container, proof: seekProofOf(stream.codec) };
  const short = packets.pts.length * decodingMicroseconds(stream.width * stream.height) < SHORT_MICROSECONDS;
  const doubtful =
    // Any VP8 packet may be a frame that is never shown.
    stream.codec === 'vp8' ||
    packets.smallest === 0 ||
    (packets.smallest < SKIP_BYTES && MAY_SKIP_PICTURES.test(stream.codec)) ||
    packets.corrupt > 0 ||
    (complaint !== '' && (isSearched(container) || PICTURELESS.test(complaint)));
  const table = short || doubtful ? undefined : FrameTable.fromPackets(packets, seeking);
  if (table) {
    const decoded = await decodeTimes(source, { maxFrames: CHECKED_FRAMES }, signal);
    const { times } = decoded;
    const first = times.length > 0 ? table.indexOf(times[0]!) : -1;
    const agrees = first >= 0 && times.every((time, i) => time === table.pts[first + i]);
    const complete = times.length >= Math.min(CHECKED_FRAMES, table.length - first);
    // A recording may start within a group of pictures: frames before its first keyframe cannot be decoded.
    if (agrees && complete) return { table: table.checked(first, packets, decoded, seeking), warnings: [] };
  }
  const decoded = await decodeTimes(source, {}, signal);
  if (decoded.times.length === 0) {
    const why = decoded.complaint ? `: ${decoded.complaint}` : '';
    throw new LongVLMError(
      'ERR_LONGVLM_VIDEO',
      `No picture of '${source.file.name}' (${stream.codec}) can be decoded${why}. Convert it with another program, or use an ffmpeg that has its decoder.`,
    );
  }
  const { num, den } = packets.timeBase;
  const step = den / num / (stream.frameRate || 25);
  const { table: found, startsOver, unknown } = FrameTable.fromDecoded(packets, decoded, step, seeking);
  const warnings = timeWarnings(source.file.name, startsOver, unknown);
  const lost = packets.flags.filter((flags) => !(flags & DISCARD)).length - found.length;
  // What is wrong with the packets is told elsewhere.
  if (lost > 0 && decoded.complaint !== '' && complaint === '' && packets.corrupt === 0)
    warnings.push(
      `${lost} ${lost === 1 ? 'frame' : 'frames'} of '${source.file.name}' cannot be decoded (${decoded.complaint}).`,
    );
  return { table: found, warnings };
}

function timeWarnings(name: string, startsOver: number, unknown: number): string[] {
  const warnings: string[] = [];
  if (startsOver > 0)
    warnings.push(
      `The times of '${name}' start over ${startsOver === 1 ? 'once' : `${startsOver} times`}: they are made to go on.`,
    );
  if (unknown > 0)
    warnings.push(
      `'${name}' does not say when ${unknown} of its frames are shown: their times are reckoned from its frame rate.`,
    );
  return warnings;
}
