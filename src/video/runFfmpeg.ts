import { checkNotKilled, type DecodedStream } from './decode.js';
import { FfmpegProcess } from './ffmpegProcess.js';
import type { Argument } from './inputFile.js';

/**
 * Runs ffmpeg to its end and returns what it wrote to standard output, a short text.
 *
 * @param onLine As of {@link FfmpegProcess}.
 */
export async function runFfmpeg(
  { binary, file }: Pick<DecodedStream, 'binary' | 'file'>,
  args: readonly Argument[],
  signal: AbortSignal | undefined,
  onLine?: (line: string) => boolean,
): Promise<string> {
  const ffmpeg = new FfmpegProcess(binary, args, signal, onLine);
  try {
    const chunks: Buffer[] = [];
    for (let chunk = await ffmpeg.read(); chunk; chunk = await ffmpeg.read()) chunks.push(chunk);
    const exit = await ffmpeg.closed;
    signal?.throwIfAborted();
    checkNotKilled(exit, file);
    return Buffer.concat(chunks).toString('latin1');
  } finally {
    await ffmpeg.dispose();
  }
}
