import type { Source } from './decode.js';
import { PacketParser, type Packets, packetArguments } from './packets.js';
import { runFfmpeg } from './runFfmpeg.js';

/**
 * The first timestamp of a file whose description cannot be trusted, in seconds: ffmpeg counts from there if it is not told to
 * keep the times as they are.
 *
 * @param packets Those of `source`, with times as they are.
 */
export async function measureStart(source: Source, packets: Packets, signal: AbortSignal | undefined): Promise<number> {
  const args = packetArguments.map((arg) => (arg === '0:V' ? `0:${source.stream}` : arg));
  const shifted = args.filter((arg) => arg !== '-copyts');
  const text = await runFfmpeg(source, [source.file, '-frames:v', '1', ...shifted], signal);
  const parser = new PacketParser();
  parser.add(Buffer.from(text));
  const [first] = parser.finish();
  const ticks = packets.dts[0]! - (first?.dts[0] ?? Number.NaN);
  return Number.isFinite(ticks) ? (ticks * source.timeBase.num) / source.timeBase.den : 0;
}
