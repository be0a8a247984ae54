// Converts the pieces of a layout to tokens. Questions are tokenised without special tokens, so a question that contains the
// text of a special token cannot end the video or the turn.
import type { Token } from 'node-llama-cpp';
import { LongVLMError } from '../base/errors.js';
import { checkInteger, checkString, isArray, isReadable, wrongType } from '../base/validate.js';
import type { LanguageModel } from './model.js';
import type { PromptLayout, PromptPiece } from './promptLayout.js';

/** The text tokens of a first turn, before and after the video. */
export type FirstTurn = {
  /** From the start of the sequence to the video; the same for every question. */
  readonly before: Token[];
  /** From the video to the start of the first answer. */
  readonly after: Token[];
};

/** Layouts that passed the check that no piece before the video depends on the question. */
const sound = new WeakSet<PromptLayout>();

/**
 * @param question the question, or any placeholder while there is none yet
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a layout that does not return exactly one video between texts, or whose
 *   chat template cannot be used
 */
export function tokensOfFirstTurn(
  model: LanguageModel,
  layout: PromptLayout,
  system: string,
  question = '?',
): FirstTurn {
  const [before, after] = aroundVideo(layout, layout.firstTurn({ system, question }, model));
  if (!sound.has(layout)) {
    const [other] = aroundVideo(layout, layout.firstTurn({ system, question: `${question}?` }, model));
    if (JSON.stringify(other) !== JSON.stringify(before))
      throw unusable(layout, 'puts the question before the video, which is evaluated first', 'behind the video');
    sound.add(layout);
  }
  const { bos, shouldPrependBosToken } = model.model.tokens;
  const tokens = tokensOf(model, layout, before);
  if (shouldPrependBosToken && bos !== null && tokens[0] !== bos) tokens.unshift(bos);
  return { before: tokens, after: tokensOf(model, layout, after) };
}

/** From the end of the previous answer to the start of the next one. @throws as {@link tokensOfFirstTurn} */
export function tokensOfNextTurn(model: LanguageModel, layout: PromptLayout, question: string, system = ''): Token[] {
  return tokensOf(model, layout, layout.nextTurn({ question, system }, model));
}

/** A turn as it is shown once another question follows; undefined where it stays as it was. */
export function tokensOfPastTurn(
  model: LanguageModel,
  layout: PromptLayout,
  turn: Parameters<NonNullable<PromptLayout['pastTurn']>>[0],
): Token[] | undefined {
  const pieces: unknown = layout.pastTurn?.(turn, model);
  return pieces === undefined ? undefined : tokensOf(model, layout, pieces);
}

/** What a layout gave, which may be third-party code. */
function checkPieces({ name }: PromptLayout, pieces: unknown): readonly PromptPiece[] {
  if (!isArray(pieces)) wrongType(`the pieces of the prompt layout ${name}`, 'array', pieces);
  return Array.from(pieces, (piece) =>
    typeof piece === 'string' || isReadable(piece)
      ? (piece as PromptPiece)
      : wrongType(`a piece of the prompt layout ${name}`, pieceWords, piece),
  );
}

const pieceWords = 'text, special, endOfAnswer, tokens or video';

const isVideo = (piece: PromptPiece) => typeof piece === 'object' && 'video' in piece;

/** The pieces before and after the video. */
function aroundVideo(layout: PromptLayout, given: unknown): [PromptPiece[], PromptPiece[]] {
  const pieces = checkPieces(layout, given);
  const at = pieces.findIndex(isVideo);
  if (at < 0) throw unusable(layout, 'has no video in its first turn', 'into it once');
  return [pieces.slice(0, at), pieces.slice(at + 1)];
}

function tokensOf(model: LanguageModel, layout: PromptLayout, pieces: unknown): Token[] {
  const tokens: Token[] = [];
  let text = '';
  const endText = () => {
    if (text !== '') for (const token of model.model.tokenize(text)) tokens.push(token);
    text = '';
  };
  for (const piece of checkPieces(layout, pieces)) {
    if (typeof piece === 'string') {
      text += piece;
      continue;
    }
    endText();
    for (const token of tokensOfPiece(model, layout, piece)) tokens.push(token as Token);
  }
  endText();
  return tokens;
}

function tokensOfPiece(
  model: LanguageModel,
  layout: PromptLayout,
  piece: Exclude<PromptPiece, string>,
): readonly number[] {
  const name = `a piece of the prompt layout ${layout.name}`;
  if ('special' in piece)
    return [model.specialToken(checkString(`${name}.special`, piece.special))].filter((token) => token !== undefined);
  if ('endOfAnswer' in piece) return [model.model.tokens.eos].filter((token) => token !== null);
  if ('tokens' in piece) return checkTokens(`${name}.tokens`, piece.tokens);
  if ('video' in piece) throw unusable(layout, 'has the video in more than one place', 'into the first turn once');
  return wrongType(name, pieceWords, piece);
}

function checkTokens(name: string, tokens: unknown): number[] {
  if (!isArray(tokens)) wrongType(name, 'array of tokens', tokens);
  return Array.from(tokens, (token, index) => checkInteger(`${name}[${index}]`, token, 0));
}

/** @param place where the video or the question must be */
function unusable({ name }: PromptLayout, cause: string, place: string): LongVLMError {
  return new LongVLMError(
    'ERR_LONGVLM_UNSUPPORTED',
    `The prompt layout ${name} ${cause}. Correct it, so that it is put ${place}, or name another layout.`,
  );
}
