// Converts the pieces of a layout to tokens. Questions are tokenised without special tokens, so a question that contains the
// text of a special token cannot end the video or the turn.
import type { Token } from 'node-llama-cpp';
import { LongVLMError } from '../base/errors.js';
import { checkInteger, checkString, isArray, isReadable, wrongType } from '../base/validate.js';
import type { LanguageModel } from './model.js';
import type { PromptLayout, PromptPiece } from './promptLayout.js';
import { type PromptTokens, promptVideo, unknownRuns, withTimes } from './promptVideo.js';

/** A part of a first turn: text tokens, or rows of the video's embeddings, `to` not included. */
export type PromptPart = { readonly text: Token[] } | { readonly from: number; readonly to: number };

/** The text tokens of a first turn, and the video between them. */
export type FirstTurn = {
  /** From the start of the sequence to the video; the same for every question. */
  readonly before: Token[];
  /** The video, which may have text between its runs; the same for every question. */
  readonly video: readonly PromptPart[];
  /** From the video to the start of the first answer. */
  readonly after: Token[];
};

/** Layouts that passed the check that no piece before the end of the video depends on the question. */
const sound = new WeakSet<PromptLayout>();

/**
 * @param question the question, or any placeholder while there is none yet
 * @param video the video's tokens; by default one, of which nothing is known
 * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` for a layout that does not return exactly one video between texts, or whose
 *   chat template cannot be used
 */
export function tokensOfFirstTurn(
  model: LanguageModel,
  layout: PromptLayout,
  system: string,
  question = '?',
  video: PromptTokens = { video: unknownRuns(1), timestamps: false, count: 1 },
): FirstTurn {
  const turn = { system, question, video: promptVideo(video) };
  const pieces = cutAtVideo(layout, layout.firstTurn(turn, model), video);
  if (!sound.has(layout)) {
    const other = cutAtVideo(layout, layout.firstTurn({ ...turn, question: `${question}?` }, model), video);
    if (JSON.stringify([other.before, other.video]) !== JSON.stringify([pieces.before, pieces.video]))
      throw unusable(layout, 'puts the question before the video, which is evaluated first', 'behind the video');
    sound.add(layout);
  }
  const { bos, shouldPrependBosToken } = model.model.tokens;
  const before = tokensOf(model, layout, pieces.before);
  if (shouldPrependBosToken && bos !== null && before[0] !== bos) before.unshift(bos);
  const parts = pieces.video.map((part) => ('pieces' in part ? { text: tokensOf(model, layout, part.pieces) } : part));
  return { before, video: parts, after: tokensOf(model, layout, pieces.after) };
}

/** Number of text tokens of a first turn up to the end of the video. */
export function textBeforeQuestion({ before, video }: FirstTurn): number {
  return video.reduce((sum, part) => sum + ('text' in part ? part.text.length : 0), before.length);
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
  return Array.from(pieces, (piece) => {
    if (typeof piece === 'string') return piece;
    if (!isReadable(piece)) wrongType(`a piece of the prompt layout ${name}`, pieceWords, piece);
    if (!('video' in piece)) return piece as PromptPiece;
    const { video } = piece as { readonly video: unknown };
    if (video !== 'all' && typeof video !== 'number')
      wrongType(`video in a piece of the prompt layout ${name}`, "'all' or the index of a run", video);
    return { video };
  });
}

const pieceWords = 'text, special, endOfAnswer, tokens or video';

const isVideo = (piece: PromptPiece): piece is { readonly video: 'all' | number } =>
  typeof piece === 'object' && 'video' in piece;

type CutPieces = {
  readonly before: PromptPiece[];
  readonly video: readonly ({ readonly from: number; readonly to: number } | { readonly pieces: PromptPiece[] })[];
  readonly after: PromptPiece[];
};

/** The pieces before, between and after the tokens of the video. */
function cutAtVideo(layout: PromptLayout, given: unknown, tokens: PromptTokens): CutPieces {
  const pieces = withRuns(layout, checkPieces(layout, given), tokens);
  const first = pieces.findIndex(isVideo);
  const last = pieces.findLastIndex(isVideo);
  const { runs } = tokens.video;
  let end = 0;
  const video: CutPieces['video'][number][] = [];
  let between: PromptPiece[] = [];
  for (const piece of pieces.slice(first, last + 1)) {
    if (!isVideo(piece)) {
      between.push(piece);
      continue;
    }
    if (between.length > 0) video.push({ pieces: between });
    between = [];
    // What is behind the last run, such as an embedding that ends the video, goes with it.
    const isLast = piece.video === 'all' || piece.video === runs.length - 1;
    const from = end;
    end = isLast ? tokens.count : end + runs[piece.video as number]!.tokens;
    video.push({ from, to: end });
  }
  return { before: pieces.slice(0, first), video, after: pieces.slice(last + 1) };
}

/** Checks that the video is there once; if the layout does not say when it was, but should, puts texts with its times into it. */
function withRuns(layout: PromptLayout, pieces: readonly PromptPiece[], tokens: PromptTokens): readonly PromptPiece[] {
  const shown = pieces.filter(isVideo).map(({ video }) => video);
  if (shown.length === 0) throw unusable(layout, 'has no video in its first turn', 'into it once');
  const isWhole = shown.includes('all');
  if (isWhole && shown.length > 1)
    throw unusable(layout, 'has the video in more than one place', 'into the first turn once');
  const { runs } = tokens.video;
  if (!isWhole && (shown.length !== runs.length || shown.some((run, index) => run !== index)))
    throw unusable(layout, 'does not have each run of the video once and in order', 'into the first turn run by run');
  if (!isWhole || !tokens.timestamps) return pieces;
  return pieces.flatMap((piece) => (isVideo(piece) ? withTimes(promptVideo(tokens)) : [piece]));
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
