// Vicuna's way: "SYSTEM USER: <video>\nQUESTION ASSISTANT:", with other words by other templates.
import * as v from 'valibot';
import { nonEmptyString, parse } from '../../base/schema.js';
import type { PromptLayout, PromptPiece } from '../promptLayout.js';

/** The words of a conversation that is laid out in Vicuna's way. */
export type VicunaTemplate = {
  readonly name: string;
  /** What the model is told first. */
  readonly system: string;
  readonly user: string;
  readonly assistant: string;
  /** Between the system text and the first turn, and between a question and its answer. */
  readonly separator: string;
  /** The special tokens around the video; a vocabulary without them goes without. */
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

/** @throws TypeError or RangeError for a template that is not whole */
export function vicunaLayout(template: VicunaTemplate): PromptLayout & VicunaTemplate {
  return { ...parse(schema, template, 'template', 'template.'), firstTurn, nextTurn };
}

// The words are read from `this`, so that a copy of a layout with other words is one, too.
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

/** Vicuna's own, which LLaVA has, too. */
export const vicunaV11 = vicunaLayout({
  name: 'vicuna_v1_1',
  system:
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
  ...words,
});
