// The turns of a chat as tokens: those in its sequence, and those that are evaluated with the next question.
import type { LlamaContextSequence, Token } from 'node-llama-cpp';
import { LongVLMError } from '../base/errors.js';
import { tokensOfGivenTurn } from './givenTurn.js';
import type { LanguageModel } from './model.js';
import { tokensOfFirstTurn, tokensOfNextTurn, tokensOfPastTurn } from './prompt.js';
import type { PromptLayout } from './promptLayout.js';
import type { PromptTokens } from './promptVideo.js';

/** What a chat's turns are laid out with. */
export type TurnTexts = {
  readonly model: LanguageModel;
  readonly layout: PromptLayout;
  readonly system: string;
  readonly video: PromptTokens;
};

/** A turn, and where it begins in the sequence, behind all of the turn before. */
type LastTurn = {
  readonly question: string;
  readonly answer: string;
  readonly start: number;
  /** Whether its answer stands as its text is tokenised. */
  readonly isTold: boolean;
};

export class SequenceTurns {
  readonly #sequence: LlamaContextSequence;
  readonly #texts: TurnTexts;
  /** What is evaluated before the next question: the last token of an answer that was cut off, or turns as they are shown now. */
  #pending: readonly Token[] = [];
  #count = 0;
  #last: LastTurn | undefined;
  /** Position of the first question, after the video. */
  #from = 0;

  constructor(sequence: LlamaContextSequence, texts: TurnTexts) {
    this.#sequence = sequence;
    this.#texts = texts;
  }

  /** The video is evaluated: what comes now are turns. */
  begin(): void {
    this.#from = this.#sequence.nextTokenIndex;
  }

  /** Whether turns can be taken out of the sequence. */
  get canForget(): boolean {
    return !this.#sequence.needsCheckpoints;
  }

  /** What is evaluated for a question. */
  tokensOf(question: string): Token[] {
    const { model, layout, system, video } = this.#texts;
    if (this.#count === 0) return tokensOfFirstTurn(model, layout, system, question, video).after;
    return [...this.#pending, ...tokensOfNextTurn(model, layout, question, system)];
  }

  /**
   * A turn has ended and stays.
   * @param start where the tokens that were evaluated for it begin
   * @param rest tokens of its answer that are not evaluated yet
   */
  ended({ question, answer, start }: Omit<LastTurn, 'isTold'>, rest: readonly Token[]): void {
    this.#last = { question, answer, start: start + this.#pending.length, isTold: false };
    this.#pending = rest;
    this.#count++;
  }

  /** Adds a turn that took place elsewhere. */
  tell(question: string, answer: string): void {
    this.#pending = [...this.#pending, ...this.#toldTokens(question, answer, this.#count === 0)];
    this.#count++;
    this.#last = undefined;
  }

  /**
   * Takes the last turn out of the sequence where it is shown otherwise from now on: it is evaluated with the next question.
   * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` where it cannot be taken out
   */
  async showLastAsPast(): Promise<void> {
    const last = this.#last;
    if (last === undefined || last.isTold) return;
    const { model, layout, system } = this.#texts;
    const { question, answer, start } = last;
    const past = tokensOfPastTurn(model, layout, { system, question, answer, isFirst: this.#count === 1 });
    if (past === undefined) return;
    if (!this.canForget) throw this.cannotForget();
    await this.eraseFrom(start);
    this.#pending = past;
    this.#last = undefined;
  }

  /**
   * Has the last answer stand as its text is tokenised, which need not be how it was generated: the conversation then goes on as
   * one whose turns were all told.
   * @returns whether that can be
   */
  async tellLast(): Promise<boolean> {
    const last = this.#last;
    if (last === undefined || last.isTold) return true;
    const told = this.#toldTokens(last.question, last.answer, this.#count === 1);
    const stands = this.#sequence.contextTokens.slice(last.start);
    let common = 0;
    while (common < stands.length && stands[common] === told[common]) common++;
    if (common < stands.length) {
      if (!this.canForget) return false;
      await this.eraseFrom(last.start + common);
    }
    this.#pending = told.slice(common);
    this.#last = { ...last, isTold: true };
    return true;
  }

  /** Takes the last turn back, as if it had never been. @returns whether that can be */
  async takeBackLast(): Promise<boolean> {
    const last = this.#last;
    if (last === undefined || !this.canForget) return false;
    await this.eraseFrom(last.start);
    this.#pending = [];
    this.#last = undefined;
    this.#count--;
    return true;
  }

  /** Removes all turns. @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` where they cannot be removed */
  async clear(): Promise<void> {
    if (!this.canForget) throw this.cannotForget();
    await this.eraseFrom(this.#from);
    this.#count = 0;
    this.#pending = [];
    this.#last = undefined;
  }

  /** Removes all from a position on. */
  async eraseFrom(position: number): Promise<void> {
    const sequence = this.#sequence;
    if (sequence.disposed || sequence.nextTokenIndex <= position) return;
    await sequence.eraseContextTokenRanges([{ start: position, end: sequence.nextTokenIndex }]);
  }

  cannotForget(): LongVLMError {
    return new LongVLMError(
      'ERR_LONGVLM_UNSUPPORTED',
      `The language model ${this.#texts.model.path} cannot forget the turns of a chat. Start a new chat.`,
    );
  }

  #toldTokens(question: string, answer: string, isFirst: boolean): Token[] {
    const { model, layout, system, video } = this.#texts;
    return tokensOfGivenTurn(model, layout, { system, question, answer, isFirst }, video);
  }
}
