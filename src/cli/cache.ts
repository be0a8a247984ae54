import { basename } from 'node:path';
import { Command } from 'commander';
import { LongVLMError } from '../base/errors.js';
import { printable } from '../base/printable.js';
import { cacheFolder } from '../cache/cacheFolder.js';
import { clearWeights, listWeights } from '../cache/weightsCache.js';
import { type CachedVideo, FeaturesCache } from '../encode/featuresCache.js';
import { VideoFeatures } from '../encode/videoFeatures.js';
import { run } from './run.js';
import { writeJson } from './write.js';

type Flags = { json?: boolean };

/** `longvlm cache ls`, `longvlm cache clear` */
export function cacheCommand(): Command {
  const command = new Command('cache').description(
    'the cache of encoded videos and converted weights ($LONGVLM_CACHE, $LONGVLM_CACHE_LIMIT in bytes)',
  );
  command
    .command('ls')
    .description('list the cache, most recently used first')
    .option('--json', 'print one JSON object')
    .action((flags: Flags) => run(() => list(flags)));
  command
    .command('clear')
    .description('empty the cache')
    .option('--json', 'print one JSON object')
    .action((flags: Flags) => run(() => clear(flags)));
  return command;
}

async function list({ json }: Flags): Promise<void> {
  const videos = await Promise.all((await (await FeaturesCache.openDefault()).list()).map(describe));
  const weights = await listWeights();
  if (json) {
    writeJson({ folder: cacheFolder(''), videos, weights });
    return;
  }
  for (const { name, seconds, bytes, lastUsed } of videos)
    process.stdout.write(
      `${printable(name)}  ${seconds?.toFixed(1) ?? '?'} s  ${size(bytes)}  ${lastUsed.toISOString()}\n`,
    );
  for (const { name, bytes, lastUsed } of weights)
    process.stdout.write(`${printable(name)}  ${size(bytes)}  ${lastUsed.toISOString()}\n`);
  const total = [...videos, ...weights].reduce((sum, { bytes }) => sum + bytes, 0);
  process.stderr.write(
    `${count(videos, 'video')} and ${count(weights, 'set')} of weights, ${size(total)}, in ${cacheFolder('')}\n`,
  );
}

async function clear({ json }: Flags): Promise<void> {
  const removed = [...(await (await FeaturesCache.openDefault()).clear()), ...(await clearWeights())];
  const bytes = removed.reduce((sum, file) => sum + file.bytes, 0);
  if (json) writeJson({ files: removed.length, bytes });
  else process.stderr.write(`removed ${count(removed, 'file')}, ${size(bytes)}\n`);
}

/** A cached video by its name; by its file name if the file cannot be read (it is encoded again when needed). */
async function describe({ file, bytes, lastUsed }: CachedVideo) {
  try {
    const { source, tokenCount, tower } = await VideoFeatures.load(file);
    return { file, name: source.name, seconds: source.durationSeconds, tokens: tokenCount, tower, bytes, lastUsed };
  } catch (error) {
    if (error instanceof LongVLMError) return { file, name: basename(file), bytes, lastUsed };
    throw error;
  }
}

function count({ length }: readonly unknown[], noun: string): string {
  return `${length} ${noun}${length === 1 ? '' : 's'}`;
}

function size(bytes: number): string {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
