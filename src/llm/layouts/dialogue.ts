// Layouts of models that were trained on videos: a conversation in fixed words, and the video in the user's first turn.
import { LongVLMError } from '../../base/errors.js';
import type { TemplatePart } from '../jinja/chatTemplate.js';
import { type SlotTexts, tokensOfParts } from '../jinja/tokens.js';
import type { LanguageModel } from '../model.js';
import type { PromptLayout, PromptPiece, PromptVideo } from '../promptLayout.js';

/** A piece of a video: text, in which special tokens count, or tokens of the video. */
export type VideoPiece = string | { readonly video: 'all' | number };

/** The words of a conversation; special tokens in them count. */
export type Dialogue = {
  readonly name: string;
  /** Before everything. */
  readonly opening: string;
  /** The system text where none is given. Defaults to none. */
  readonly systemText?: string;
  /** Around a system text, which is left out if it is empty. */
  readonly system: readonly [before: string, after: string];
  /** Before the video. */
  readonly user: string;
  /** Between the video and the first question. */
  readonly afterVideo: string;
  /** Whether questions lose the white space around them. Defaults to `false`. */
  readonly trimsQuestion?: boolean;
  /** From a question to its answer. */
  readonly assistant: string;
  /** The same where another turn follows, if it is something else then. */
  readonly pastAssistant?: string;
  /** From an answer to the next question. */
  readonly next: string;
  readonly video: (video: PromptVideo) => readonly VideoPiece[];
};

/** Words between special tokens, as `<|im_start|>user`, which many models have in common. */
export const chatMl = {
  opening: '',
  system: ['<|im_start|>system\n', '<|im_end|>\n'],
  user: '<|im_start|>user\n',
  assistant: '<|im_end|>\n<|im_start|>assistant\n',
  next: '<|im_end|>\n<|im_start|>user\n',
} as const;

const slot = (name: 'system' | 'question' | 'answer', trims = false) =>
  ({ slot: name, trimStart: trims, trimEnd: trims }) as const;

export function dialogueLayout(words: Dialogue): PromptLayout {
  const { name, opening, user, afterVideo, assistant, pastAssistant, next } = words;
  const asking = slot('question', words.trimsQuestion);
  const question = [asking, assistant];
  return {
    name,
    system: words.systemText ?? '',
    firstTurn({ system, question: asked, video }, model) {
      const [before, after] = words.system;
      const told = system === '' ? [] : [before, slot('system'), after];
      const parts = [opening, ...told, user, ...words.video(video), afterVideo, ...question];
      checkMarks(model, name, parts);
      return written(model, parts, { system, question: asked });
    },
    nextTurn: ({ question: asked }, model) => written(model, [next, ...question], { question: asked }),
    ...(pastAssistant !== undefined && {
      pastTurn({ question: asked, answer, isFirst }, model) {
        const parts = [isFirst ? afterVideo : next, asking, pastAssistant, slot('answer')];
        return written(model, parts, { question: asked, answer });
      },
    }),
  };
}

const marks = /<[|/]?[a-z_-]+\|?>/g;

/**
 * Without them, the words of a turn are text like any other to the model.
 * @throws LongVLMError `ERR_LONGVLM_MISMATCH` for a language model that does not have the special tokens in a layout's words
 */
function checkMarks(model: LanguageModel, name: string, parts: readonly (TemplatePart | VideoPiece)[]): void {
  const named = new Set(parts.flatMap((part) => (typeof part === 'string' ? (part.match(marks) ?? []) : [])));
  const missing = [...named].filter((mark) => model.specialToken(mark) === undefined);
  if (missing.length === 0) return;
  throw new LongVLMError(
    'ERR_LONGVLM_MISMATCH',
    `The prompt layout ${name} needs the special tokens ${missing.join(', ')}, which ${model.path} does not have. Use the language model of the same model, or name another layout, such as the template chat_template.`,
  );
}

/** Texts between tokens of the video as token ids. */
function written(
  model: LanguageModel,
  parts: readonly (TemplatePart | VideoPiece)[],
  texts: SlotTexts,
): readonly PromptPiece[] {
  const pieces: PromptPiece[] = [];
  let text: TemplatePart[] = [];
  const end = () => {
    if (text.some((part) => part !== '')) pieces.push({ tokens: tokensOfParts(model, text, texts) });
    text = [];
  };
  for (const part of parts) {
    if (typeof part === 'string' || 'slot' in part) text.push(part);
    else {
      end();
      pieces.push(part);
    }
  }
  end();
  return pieces;
}

/** The runs of frames or segments with text around each, which is given its number from 0 on; global tokens come without. */
export function framed(
  { runs }: PromptVideo,
  around: (run: PromptVideo['runs'][number], number: number) => readonly [before: string, after: string],
): VideoPiece[] {
  let number = 0;
  return runs.flatMap((run, index): VideoPiece[] => {
    if (run.kind === 'global') return [{ video: index }];
    const [before, after] = around(run, number++);
    return [before, { video: index }, after];
  });
}
