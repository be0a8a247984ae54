import type { LanguageModel } from './model.js';

/**
 * A piece of a prompt.
 *
 * - text, in which nothing is read as a special token. Texts next to each other are one text
 * - `special`: a special token by its text, left out where the vocabulary lacks it
 * - `endOfAnswer`: the token with which the model ends an answer
 * - `tokens`: token ids of the model
 * - `video`: the tokens of the video
 */
export type PromptPiece =
  | string
  | { readonly special: string }
  | { readonly endOfAnswer: true }
  | { readonly tokens: readonly number[] }
  | { readonly video: 'all' };

/**
 * How a conversation about a video is laid out for the language model. What begins the sequence for the model
 * (`<s>`) is put before the first piece, unless it is there.
 *
 * @example
 * ```ts
 * registerPromptTemplate({
 *   name: 'plain',
 *   system: '',
 *   firstTurn: ({ system, question }) => [system, { video: 'all' }, `\nQ: ${question}\nA:`],
 *   nextTurn: ({ question }) => [{ endOfAnswer: true }, `\nQ: ${question}\nA:`],
 * });
 * ```
 */
export interface PromptLayout {
  /** Tells this layout from all others. */
  readonly name: string;
  /** What the model is told first where the caller says nothing; may be empty. */
  readonly system: string;
  /**
   * From the beginning of the conversation to where the first answer begins. The video is in it once, and no piece before
   * the video depends on the question: these are evaluated before there is one.
   */
  firstTurn(turn: { readonly system: string; readonly question: string }, model: LanguageModel): readonly PromptPiece[];
  /** From the end of the answer before to where the next one begins. */
  nextTurn(turn: { readonly question: string }, model: LanguageModel): readonly PromptPiece[];
}
