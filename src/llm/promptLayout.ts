import type { VideoRun } from '../base/videoRun.js';
import type { LanguageModel } from './model.js';

/**
 * A piece of a prompt.
 *
 * - text: special tokens in it are treated as plain text. Adjacent texts are joined before they are tokenised
 * - `special`: a special token by its text; omitted if the vocabulary lacks it
 * - `endOfAnswer`: the token with which the model ends an answer
 * - `tokens`: token ids of the model
 * - `video`: the tokens of the video; or one of its runs, by its index in {@link PromptVideo.runs}
 */
export type PromptPiece =
  | string
  | { readonly special: string }
  | { readonly endOfAnswer: true }
  | { readonly tokens: readonly number[] }
  | { readonly video: 'all' | number };

/** What a layout knows of the video. */
export type PromptVideo = {
  /** Runs of tokens, each for a part of the video. */
  readonly runs: readonly VideoRun[];
  readonly durationSeconds: number;
  /** Whether the text says the time of each run. If the layout has the video as `all`, such texts are put into it. */
  readonly timestamps: boolean;
};

/** What a first turn is made of. */
export type PromptFirstTurn = { readonly system: string; readonly question: string; readonly video: PromptVideo };

/**
 * How a conversation about a video is laid out for the language model. The model's beginning-of-sequence token (`<s>`) is
 * added before the first piece, unless it is already there.
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
  /** Unique name of the layout. */
  readonly name: string;
  /** Default system text; may be empty. */
  readonly system: string;
  /**
   * The pieces from the start of the conversation to the start of the first answer. They contain the video exactly once: as
   * `all`, or all of its runs in order. The pieces before its end must not depend on the question, because they are evaluated
   * before it is asked.
   */
  firstTurn(turn: PromptFirstTurn, model: LanguageModel): readonly PromptPiece[];
  /** The pieces from the end of the previous answer to the start of the next one. */
  nextTurn(turn: { readonly question: string; readonly system?: string }, model: LanguageModel): readonly PromptPiece[];
  /**
   * The pieces of a turn that has ended, from the video or the end of the answer before to the end of its own answer, for models
   * to which a turn is shown otherwise once another question follows, such as without the answer's thoughts. It is then evaluated
   * again. Undefined, or left out: the turn stays as it was asked and answered.
   */
  pastTurn?(
    turn: { readonly system: string; readonly question: string; readonly answer: string; readonly isFirst: boolean },
    model: LanguageModel,
  ): readonly PromptPiece[] | undefined;
}
