import { decoderInput, type Source } from './decode.js';
import type { FrameChain } from './frameReader.js';
import type { FrameTable } from './frameTable.js';
import type { FramePipeline } from './geometry.js';
import type { Run } from './plan.js';
import { IS_KEYFRAME } from './seekProof.js';

/** Picks the frames of a run and makes their pictures. A seek that is not proven gives none. */
export function frameChain(
  source: Source,
  table: FrameTable,
  { seek, frames }: Run,
  pipeline: FramePipeline,
): FrameChain {
  const numbered = table.by === 'count';
  const { num, den } = numbered ? { num: 1, den: 1 } : table.timeBase;
  const times = numbered ? frames : frames.map((frame) => table.pts[frame]!);
  const among = isAmong('pts', times);
  // Frames before the first keyframe of a seek may lack what they are made from.
  const proven = seek && table.proof === 'decoder' ? `if(${IS_KEYFRAME},st(0,1));ld(0)*(${among})` : among;
  return {
    file: source.file,
    // A decoder for one frame gains nothing from threads; two processes run at once.
    input: decoderInput(source, { seek, threads: frames.length === 1 ? 1 : undefined, numbered }),
    stream: source.stream,
    filters: [
      `settb=expr=${num}/${den}`,
      `trim=end_pts=${times.at(-1)! + 1}`,
      `select='${proven}'`,
      ...pipeline.filters,
    ],
    indexOf: numbered ? (number) => number : (time) => table.indexOf(time),
  };
}

/** Whether `variable` is among the rising `values`. By bisection: ffmpeg gives up on sums of more than about a hundred terms, and this is quicker too. */
function isAmong(variable: string, values: readonly number[]): string {
  if (values.length <= 8) return values.map((value) => `eq(${variable},${value})`).join('+');
  const middle = values.length >> 1;
  const [below, above] = [values.slice(0, middle), values.slice(middle)];
  return `if(lt(${variable},${values[middle]}),${isAmong(variable, below)},${isAmong(variable, above)})`;
}
