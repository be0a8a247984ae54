// Answers one call, piece by piece.

import { featuresOf, type VideoFeatures } from '../encode/videoFeatures.js';
import { videoReport } from '../encode/videoReport.js';
import { type Answer, wasCut } from '../llm/answer.js';
import { textsOf } from '../llm/givenConversation.js';
import type { LongVLM } from '../longvlm.js';
import type { VideoLimits } from '../video/limits.js';
import type { VideoInput } from '../video/videoInput.js';
import type { Call } from './call.js';
import { videoOf } from './prompt.js';
import type { Finish, Json } from './types.js';

/** Where videos may come from, and how large they may be. */
export type VideoSources = { readonly limits: VideoLimits; readonly root: string | undefined };

/**
 * Yields the answer's text in pieces, and returns how it ended.
 * @throws as {@link LongVLM.ask}
 */
export async function* answerPieces(
  vlm: LongVLM,
  call: Call,
  { limits, root }: VideoSources,
): AsyncGenerator<string, Finish, void> {
  const { conversation, chat, ask } = call;
  const video = await videoOf(conversation.media, root);
  const texts = textsOf(conversation);
  const features = featuresOf(video) ?? (await vlm.encodeFor(texts, video as VideoInput, { ...chat, limits }));
  const talk = await vlm.chat(features, {
    ...chat,
    contextSize: vlm.contextSizeOf(features, conversation, { ...chat, ...ask }),
  });
  try {
    for (const { question, answer } of conversation.turns) await talk.addTurn(question, answer);
    const before = talk.usedTokens;
    yield* talk.stream(conversation.question, ask);
    return finishOf(talk.lastAnswer!, before, features, call);
  } finally {
    await talk.dispose();
  }
}

function finishOf(answer: Answer, before: number, features: VideoFeatures, { chat }: Call): Finish {
  const input = before + answer.promptTokens;
  const output = answer.tokenIds.length;
  const { source } = features;
  return {
    finishReason: { unified: wasCut(answer) ? 'length' : 'stop', raw: answer.stopReason },
    usage: {
      inputTokens: { total: input, noCache: input, cacheRead: undefined, cacheWrite: undefined },
      outputTokens: { total: output, text: output, reasoning: undefined },
    },
    providerMetadata: {
      longvlm: {
        // Plain data, which the types do not say.
        video: videoReport(features, chat.part) as unknown as Json,
        warnings: [...source.warnings],
        timings: { ...answer.timings },
      },
    },
  };
}
