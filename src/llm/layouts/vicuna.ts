// Vicuna's layout, "SYSTEM USER: <video>\nQUESTION ASSISTANT:"; templates replace its words.
import * as v from 'valibot';
import { nonEmptyString, parse } from '../../base/schema.js';
import type { PromptLayout, PromptPiece } from '../promptLayout.js';

/** The words of a conversation in Vicuna's layout. */
export type VicunaTemplate = {
  readonly name: string;
  /** Default system text, the first text of the conversation; may be empty. */
  readonly system: string;
  readonly user: string;
  readonly assistant: string;
  /** Between the system text and the first turn, and between a question and its answer. */
  readonly separator: string;
  /** The special tokens around the video; omitted if the vocabulary lacks them. */
  readonly videoStart: string;
  readonly videoEnd: string;
};

const schema = v.object({
  name: nonEmptyString,
  system: v.string(),
  user: nonEmptyString,
  assistant: nonEmptyString,
  separator: v.string(),
  videoStart: nonEmptyString,
  videoEnd: nonEmptyString,
});

/** @throws TypeError or RangeError for an incomplete template */
export function vicunaLayout(template: VicunaTemplate): PromptLayout & VicunaTemplate {
  return { ...parse(schema, template, 'template', 'template.'), firstTurn, nextTurn };
}

// The words are read from `this`, so that a copy of a layout with other words works as well.
function firstTurn(this: VicunaTemplate, { system, question }: { system: string; question: string }): PromptPiece[] {
  const { user, assistant, separator, videoStart, videoEnd } = this;
  return [
    `${system === '' ? '' : system + separator}${user}: `,
    { special: videoStart },
    { video: 'all' },
    { special: videoEnd },
    `\n${question}${separator}${assistant}:`,
  ];
}

function nextTurn(this: VicunaTemplate, { question }: { question: string }): PromptPiece[] {
  const { user, assistant, separator } = this;
  return [{ endOfAnswer: true }, `${user}: ${question}${separator}${assistant}:`];
}

const words = {
  user: 'USER',
  assistant: 'ASSISTANT',
  separator: ' ',
  videoStart: '<vid_start>',
  videoEnd: '<vid_end>',
} as const;

/** The layout that LongVLM was trained with. */
export const longVlmV1 = vicunaLayout({
  name: 'long_vlm_v1',
  system:
    'You are LongVLM, a large vision-language assistant. You are able to understand the video content that the user provides, and assist the user with a variety of tasks using natural language.Follow the instructions carefully and explain your answers in detail based on the provided video.',
  ...words,
});

/** Vicuna's layout, which LLaVA also uses. */
export const vicunaV11 = vicunaLayout({
  name: 'vicuna_v1_1',
  system:
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
  ...words,
});
