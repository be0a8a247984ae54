import { checkObject, checkOneOf, checkString, wrongType } from '../base/validate.js';

/** How a conversation about a video is laid out as text, in Vicuna's way. */
export type PromptTemplate = {
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

const vicunaLayout = {
  user: 'USER',
  assistant: 'ASSISTANT',
  separator: ' ',
  videoStart: '<vid_start>',
  videoEnd: '<vid_end>',
} as const;

const templates = {
  long_vlm_v1: {
    name: 'long_vlm_v1',
    system:
      'You are LongVLM, a large vision-language assistant. You are able to understand the video content that the user provides, and assist the user with a variety of tasks using natural language.Follow the instructions carefully and explain your answers in detail based on the provided video.',
    ...vicunaLayout,
  },
  vicuna_v1_1: {
    name: 'vicuna_v1_1',
    system:
      "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the user's questions.",
    ...vicunaLayout,
  },
  // The rest of it is in the model's own file: see chatTemplate.ts.
  chat_template: { name: 'chat_template', system: '', ...vicunaLayout },
} satisfies Record<string, PromptTemplate>;

/** The name of a built-in {@link PromptTemplate}; `chat_template` is that in the language model's own file. */
export type PromptTemplateName = keyof typeof templates;

/** The names of the built-in templates. */
export const promptTemplateNames = Object.keys(templates) as readonly PromptTemplateName[];

/**
 * The template of that name, or the given one checked.
 * @throws TypeError or RangeError for anything else
 */
export function resolvePromptTemplate(template: PromptTemplateName | PromptTemplate): PromptTemplate {
  if (typeof template === 'string') return templates[checkOneOf('template', template, promptTemplateNames)];
  checkObject('template', template);
  for (const key of ['name', 'user', 'assistant', 'videoStart', 'videoEnd'] as const)
    checkString(`template.${key}`, template[key]);
  return template;
}

/** Whether a conversation is laid out by the chat template in the model's file. */
export function isChatTemplate(template: PromptTemplate): boolean {
  return template === templates.chat_template;
}

/**
 * What the model is told first: the given text, which may be empty, or the template's own.
 * @throws TypeError when it is no text
 */
export function systemText(template: PromptTemplate, system: string | undefined): string {
  if (system === undefined) return template.system;
  if (typeof system !== 'string') wrongType('system', 'string', system);
  return system;
}

/** The text before the video: the system text and the head of the first question. */
export function textBeforeVideo(template: PromptTemplate, system: string): string {
  return `${system === '' ? '' : system + template.separator}${template.user}: `;
}

/** The text behind the video, up to where the first answer begins. */
export function textAfterVideo(template: PromptTemplate, question: string): string {
  return `\n${question}${template.separator}${template.assistant}:`;
}

/** The text of a later question, up to where its answer begins. */
export function textOfNextTurn(template: PromptTemplate, question: string): string {
  return `${template.user}: ${question}${template.separator}${template.assistant}:`;
}
