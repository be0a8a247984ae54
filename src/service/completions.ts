// Chat completions as OpenAI's API sends them, whole or piece by piece.
import { randomUUID } from 'node:crypto';
import type { Progress } from '../base/progress.js';
import { version } from '../base/version.js';
import type { StopReason } from '../llm/answer.js';
import type { Answered } from './answering.js';

/** What all objects of one completion have in common. */
export type CompletionHead = { readonly id: string; readonly created: number; readonly model: string };

export function completionHead(model: string): CompletionHead {
  return { id: `chatcmpl-${randomUUID()}`, created: Math.floor(Date.now() / 1000), model };
}

const finishReasons: Readonly<Record<StopReason, 'stop' | 'length'>> = {
  endOfAnswer: 'stop',
  stop: 'stop',
  left: 'stop',
  maxTokens: 'length',
  contextFull: 'length',
};

const fingerprint = `longvlm-${version}`;

/** A whole completion. */
export function completion({ id, created, model }: CompletionHead, answered: Answered) {
  const { text, stopReason } = answered.answer;
  return {
    ...{ id, object: 'chat.completion', created, model, system_fingerprint: fingerprint },
    choices: [
      {
        index: 0,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: null,
        finish_reason: finishReasons[stopReason],
      },
    ],
    usage: usageOf(answered),
    longvlm: answered.used,
  };
}

/** A piece of a completion: the role, which comes first, or text. */
export function piece(head: CompletionHead, delta: { role?: 'assistant'; content: string }) {
  return chunk(head, [{ index: 0, delta, logprobs: null, finish_reason: null }]);
}

/** How far a video is, before its answer: a piece without text. */
export function progressPiece(head: CompletionHead, { stage, done, total, unit }: Progress) {
  return { ...chunk(head, []), longvlm: { progress: { stage, done, total, unit } } };
}

/** The last pieces of a completion: why it ended, with what was used, and the counts where they are wanted. */
export function lastPieces(head: CompletionHead, answered: Answered, includeUsage: boolean): object[] {
  const reason = finishReasons[answered.answer.stopReason];
  const ended = chunk(head, [{ index: 0, delta: {}, logprobs: null, finish_reason: reason }]);
  const last = { ...ended, longvlm: answered.used };
  return includeUsage ? [last, { ...chunk(head, []), usage: usageOf(answered) }] : [last];
}

function chunk({ id, created, model }: CompletionHead, choices: readonly object[]) {
  return { id, object: 'chat.completion.chunk', created, model, system_fingerprint: fingerprint, choices };
}

function usageOf({ answer, promptTokens, cachedTokens, videoTokens }: Answered) {
  const completionTokens = answer.tokenIds.length;
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens, video_tokens: videoTokens },
  };
}
