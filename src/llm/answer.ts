// What one asks for with a question, and what is known of the answer.
import { checkInteger, checkSignal, checkString, wrongType } from '../base/validate.js';
import { checkSamplingOptions, type SamplingOptions } from './sampling.js';

/** Options of `VideoChat.ask()` and `VideoChat.stream()`. */
export type AskOptions = SamplingOptions & {
  /** The answer ends after so many tokens. Defaults to `1024`. */
  maxTokens?: number;
  /** Texts that end the answer; they are not part of it. None by default. */
  stop?: readonly string[];
  /** Ends the answer early: the call rejects with `signal.reason` and the turn is forgotten. */
  signal?: AbortSignal;
};

/** Why an answer ended; `left` when the caller left the loop over `VideoChat.stream()`. */
export type StopReason = 'endOfAnswer' | 'maxTokens' | 'stop' | 'contextFull' | 'left';

/** What is known of an answer beside its text. */
export type Answer = {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly stopReason: StopReason;
  /** Tokens of the turn's own text before the answer. */
  readonly promptTokens: number;
  /** Tokens that llama.cpp evaluated for this turn: the new text and the answer, never the video again. */
  readonly evaluatedTokens: number;
  readonly timings: {
    /** From the call to the first token, in ms. */
    readonly firstToken: number;
    /** From the call to the last token, in ms. */
    readonly total: number;
  };
};

/** @throws TypeError or RangeError for a bad option. */
export function checkAskOptions(options: AskOptions): void {
  if (options.maxTokens !== undefined) checkInteger('maxTokens', options.maxTokens, 1);
  if (options.stop !== undefined) {
    if (!Array.isArray(options.stop)) wrongType('stop', 'array of strings', options.stop);
    for (const [index, text] of options.stop.entries()) checkString(`stop[${index}]`, text);
  }
  checkSamplingOptions(options);
  checkSignal(options.signal);
}
