// Memory that mergeTokens() takes in addition to its input and output, and memory growth over many calls.
import { readFileSync, writeFileSync } from 'node:fs';
import { mergeTokens } from 'longvlm/kernels';
import { type MergeTokensCase, tinyCase } from './cases.js';
import { randomTensor } from './inputs.js';
import { type Measurement, notMeasured, summarize } from './results.js';

const mebibyte = 2 ** 20;

/** Peak or current resident memory; undefined without /proc. */
function residentBytes(field: 'VmHWM' | 'VmRSS'): number | undefined {
  try {
    const kilobytes = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  } catch {
    return undefined;
  }
}

/** Resets the peak to the current resident memory, if the system allows it. */
function resetPeak(): boolean {
  try {
    writeFileSync('/proc/self/clear_refs', '5');
    return true;
  } catch {
    return false;
  }
}

const collectGarbage = () => (globalThis as { gc?: () => void }).gc?.();

/** The first large call of a fresh process; a tiny call has started its threads before. */
export async function benchPeakMemory({
  type,
  segments,
  tokens,
  channels,
  heads,
  keep,
}: MergeTokensCase): Promise<Measurement[]> {
  const input = randomTensor(type, [segments, tokens, channels]);
  await mergeTokens(randomTensor(type, tinyCase.dims), { heads: tinyCase.heads, keep: tinyCase.keep });
  collectGarbage();
  const reset = resetPeak();
  const before = residentBytes(reset ? 'VmRSS' : 'VmHWM');
  const { tokens: merged, sizes, assignment } = await mergeTokens(input, { heads, keep });
  const peak = residentBytes('VmHWM');
  const what = 'peak beyond input and output';
  if (before === undefined || peak === undefined)
    return [notMeasured(what, 'MiB', 'not available here: it is read from /proc')];
  const output = merged.data.byteLength + sizes.data.byteLength + assignment.byteLength;
  const beyond = Math.max(0, peak - before - output) / mebibyte;
  const note = reset ? undefined : 'the peak could not be reset: what was freed before the call hides as much of it';
  return [{ what, unit: 'MiB', ...summarize([beyond]), ...(note && { note }) }];
}

const callsBetweenCollections = 20;
const warmUpCalls = 40;
const steadyCalls = 200;

/** Growth of resident memory over many calls, and their page faults. */
export async function benchSteadyMemory({
  type,
  segments,
  tokens,
  channels,
  heads,
  keep,
}: MergeTokensCase): Promise<Measurement[]> {
  const input = randomTensor(type, [segments, tokens, channels]);
  // Collect the outputs, which would count as growth otherwise.
  const run = async (calls: number) => {
    for (let call = 1; call <= calls; call++) {
      await mergeTokens(input, { heads, keep });
      if (call % callsBetweenCollections === 0) collectGarbage();
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  };
  await run(warmUpCalls);
  const what = `growth over ${steadyCalls} calls`;
  const before = residentBytes('VmRSS');
  if (before === undefined) return [notMeasured(what, 'MiB', 'not available here: it is read from /proc')];
  const { minorPageFault } = process.resourceUsage();
  await run(steadyCalls);
  const faults = (process.resourceUsage().minorPageFault - minorPageFault) / steadyCalls;
  const growth = (residentBytes('VmRSS')! - before) / mebibyte;
  return [{ what, unit: 'MiB', ...summarize([growth]), note: `${faults.toFixed(1)} page faults a call` }];
}
