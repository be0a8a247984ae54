// Options of a question, and properties of its answer.
import { readOptions } from '../base/options.js';
import { checkInteger, checkSignal, checkString, isArray, wrongType } from '../base/validate.js';
import type { VideoRun } from '../base/videoRun.js';
import { checkSamplingOptions, type SamplingOptions, samplingNames } from './sampling.js';

/** Options of `VideoChat.ask()` and `VideoChat.stream()`. */
export type AskOptions = SamplingOptions & {
  /** Maximum number of tokens of the answer. Defaults to `1024`. */
  maxTokens?: number;
  /** Texts that end the answer. The answer does not include them. Defaults to none. */
  stop?: readonly string[];
  /** Aborts the answer: the call rejects with `signal.reason`, and the turn is removed from the conversation. */
  signal?: AbortSignal | null | undefined;
};

/** Why an answer ended; `left` means that the caller left the loop over `VideoChat.stream()`. */
export type StopReason = 'endOfAnswer' | 'maxTokens' | 'stop' | 'contextFull' | 'left';

/** Whether an answer ended before its end. @internal */
export function wasCut({ stopReason }: Pick<Answer, 'stopReason'>): boolean {
  return stopReason === 'maxTokens' || stopReason === 'contextFull';
}

/** An answer, with its token counts and timings. */
export type Answer = {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly stopReason: StopReason;
  /** Which part of the video its tokens stand for, in the order of the tokens. */
  readonly video: { readonly runs: readonly VideoRun[] };
  /** Tokens of this turn's prompt: the text before the answer. */
  readonly promptTokens: number;
  /** Tokens that llama.cpp evaluated for this turn: prompt and answer. The video is not evaluated again. */
  readonly evaluatedTokens: number;
  readonly timings: {
    /** From the call to the first token, in ms. */
    readonly firstToken: number;
    /** From the call to the last token, in ms. */
    readonly total: number;
  };
};

const names = [...samplingNames, 'maxTokens', 'stop', 'signal'] as const;

/** Reads each option once. @throws TypeError or RangeError for a bad option */
export function readAskOptions(options: AskOptions): AskOptions {
  const { stop, ...read } = readOptions(options, names);
  checkAskOptions(read);
  return { ...read, ...(stop !== undefined && { stop: readStop(stop) }) };
}

/** @throws TypeError or RangeError for a bad option. */
export function checkAskOptions(options: AskOptions): void {
  if (options.maxTokens !== undefined) checkInteger('maxTokens', options.maxTokens, 1);
  if (options.stop !== undefined) readStop(options.stop);
  checkSamplingOptions(options);
  checkSignal(options.signal);
}

function readStop(stop: unknown): string[] {
  if (!isArray(stop)) wrongType('stop', 'array of strings', stop);
  return Array.from(stop, (text, index) => checkString(`stop[${index}]`, text));
}
