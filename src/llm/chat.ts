import type { LlamaContext, LlamaContextSequence, Token } from 'node-llama-cpp';
import { raceAbort } from '../base/abort.js';
import { LongVLMError } from '../base/errors.js';
import { readOptions } from '../base/options.js';
import type { TensorInput } from '../base/tensor.js';
import { checkFunction, checkInteger, checkString, checkText } from '../base/validate.js';
import type { VideoRun } from '../base/videoRun.js';
import { type Answer, type AskOptions, readAskOptions, type StopReason } from './answer.js';
import { type AnswerStream, readAnswer } from './answerStream.js';
import { AnswerText } from './answerText.js';
import { readChatOptions, type VideoChatOptions } from './chatOptions.js';
import { asLongVLMError, bytesOfContext, createContext } from './context.js';
import {
  checkLengths,
  checkPrompt,
  contextFull,
  contextSizeOf,
  defaultMaxTokens,
  neededContextSize,
  type PromptTexts,
} from './contextSize.js';
import { checkPlaces, evaluateVideo, largestRun } from './evaluateVideo.js';
import { trimMemory } from './giveBackMemory.js';
import { checkModel, type LanguageModel } from './model.js';
import { usedPlaces } from './places.js';
import { textBeforeQuestion, tokensOfFirstTurn } from './prompt.js';
import { publicRun } from './promptVideo.js';
import { toEvaluateOptions } from './sampling.js';
import { SequenceTurns, type TurnTexts } from './sequenceTurns.js';

/** A conversation about one video, whose embeddings are evaluated once and then stay in the model's cache. */
export class VideoChat {
  /** Tokens of the video in the context. */
  readonly videoTokens: number;
  /** Which part of the video its tokens stand for, in the order of the tokens. */
  readonly video: { readonly runs: readonly VideoRun[] };
  readonly #model: LanguageModel;
  readonly #temperature: number;
  readonly #context: LlamaContext;
  readonly #sequence: LlamaContextSequence;
  readonly #turns: SequenceTurns;
  /** The most tokens of the video that attend to each other, where they do. */
  readonly #together: number | undefined;
  #lastAnswer: Answer | undefined;
  /** Answers that are read. */
  readonly #streams = new Set<AnswerStream>();
  /** Settles when the previous turn has released the sequence. Turns are processed in order. */
  #idle: Promise<void> = Promise.resolve();
  /** The current step of llama.cpp. */
  #inFlight: Promise<unknown> = Promise.resolve();
  readonly #closing = new AbortController();
  #disposing: Promise<void> | undefined;

  private constructor(texts: TurnTexts, temperature: number, context: LlamaContext, together: number | undefined) {
    const { model, video } = texts;
    this.#model = model;
    this.#temperature = temperature;
    this.#context = context;
    this.#together = together;
    this.videoTokens = video.count;
    this.video = { runs: video.video.runs.map(publicRun) };
    this.#sequence = context.getSequence({
      contextShift: {
        strategy: () => {
          throw contextFull(context.contextSize);
        },
      },
    });
    this.#turns = new SequenceTurns(this.#sequence, texts);
  }

  /**
   * Evaluates the system text and the video.
   * @param video [tokens, width] embeddings, the projector's output
   * @throws LongVLMError `ERR_LONGVLM_MISMATCH` when the video's width is not the language model's,
   *   `ERR_LONGVLM_CONTEXT_FULL` when it does not fit into the context, `ERR_LONGVLM_UNSUPPORTED` when the layout, such as the
   *   chat template in the model's file, cannot be used
   */
  static async create(model: LanguageModel, video: TensorInput, options: VideoChatOptions = {}): Promise<VideoChat> {
    const given = readChatOptions(model, video, options);
    const { layout, system, contextSize: wanted, temperature, tokens, attention, signal } = given;
    signal?.throwIfAborted();
    model.checkUsable();
    const { count: videoTokens, video: runs } = tokens;
    const width = given.video.dims[1]!;
    if (width !== model.inputWidth)
      throw new LongVLMError(
        'ERR_LONGVLM_MISMATCH',
        `The video's embeddings are ${width} wide but ${model.path} takes ${model.inputWidth}. ` +
          'Use the projector that was trained for this language model.',
      );
    const most = wanted ?? model.trainContextSize;
    checkLengths(model, most, system);
    const turn = tokensOfFirstTurn(model, layout, system, '?', tokens);
    checkPlaces(model, runs);
    const contextSize = contextSizeOf(model, wanted, textBeforeQuestion(turn), tokens);
    await model.loadWhole(signal);
    const together = attention === 'full' ? largestRun(runs, videoTokens) : undefined;
    const context = await createContext(model, contextSize, together);
    const chat = new VideoChat({ model, layout, system, video: tokens }, temperature, context, together);
    try {
      const prompt = { turn, embeddings: given.video, runs, attention };
      const onStep = (step: Promise<unknown>) => {
        chat.#inFlight = step;
      };
      await evaluateVideo(model, chat.#sequence, prompt, { signal, onStep });
      chat.#turns.begin();
    } catch (error) {
      // An abort rejects at once; the context is disposed later, when the current step has finished.
      const disposed = chat.dispose();
      if (signal?.aborted) disposed.catch(() => {});
      else await disposed;
      throw asLongVLMError(error, model, signal);
    }
    return chat;
  }

  /**
   * Context size in tokens for a video of `videoTokens` tokens, one question and an answer of `maxTokens`. At most the size
   * that the model was trained for: a longer answer is cut off there.
   */
  static requiredContextSize(
    model: LanguageModel,
    videoTokens: number,
    question: string,
    options: PromptTexts & { maxTokens?: number } = {},
  ): number {
    checkModel(model);
    const { maxTokens = defaultMaxTokens } = readOptions(options, ['maxTokens']);
    return neededContextSize(model, videoTokens, question, checkInteger('maxTokens', maxTokens, 1), options);
  }

  /**
   * Checks, before a video is encoded, that a question about its `videoTokens` tokens fits into the context.
   * @throws LongVLMError `ERR_LONGVLM_CONTEXT_FULL` when it does not, `ERR_LONGVLM_UNSUPPORTED` when the layout, such as the
   *   chat template in the model's file, cannot be used
   */
  static checkFits(
    model: LanguageModel,
    videoTokens: number,
    question: string,
    options: PromptTexts & { contextSize?: number } = {},
  ): void {
    checkModel(model);
    const given = readOptions(options, ['contextSize']);
    if (given.contextSize !== undefined) checkInteger('contextSize', given.contextSize, 16);
    checkPrompt(model, videoTokens, question, given.contextSize ?? model.trainContextSize, options);
  }

  /** Size of the context in tokens. */
  get contextSize(): number {
    return this.#sequence.contextSize;
  }

  /** Number of used tokens of the context. */
  get usedTokens(): number {
    return usedPlaces(this.#sequence);
  }

  /** The last answer that was not aborted. */
  get lastAnswer(): Answer | undefined {
    return this.#lastAnswer;
  }

  /**
   * Asks a question and waits for the whole answer.
   * @param options `onText` is called with each piece of text as it is generated, and awaited; what it throws ends the answer
   * @returns the answer's text
   * @throws LongVLMError `ERR_LONGVLM_CONTEXT_FULL` when the question does not fit into the rest of the context; what `onText`
   *   throws
   */
  async ask(question: string, options: AskOptions & { onText?: (text: string) => unknown } = {}): Promise<string> {
    const { onText } = readOptions(options, ['onText']);
    if (onText !== undefined) checkFunction('onText', onText);
    let answer = '';
    for await (const piece of this.stream(question, options)) {
      answer += piece;
      await onText?.(piece);
    }
    return answer;
  }

  /**
   * Asks a question and yields the answer's text in pieces as it is generated. Leaving the loop early ends the answer; the
   * conversation can continue. Concurrent turns of one chat are answered in order: while a question waits, the answer before it
   * goes on even if nobody reads it.
   * @throws what {@link ask} throws
   */
  stream(question: string, options: AskOptions = {}): AsyncGenerator<string, void, void> {
    checkString('question', question);
    return readAnswer(this.#turn(question, readAskOptions(options)), this.#streams);
  }

  /**
   * Whether {@link reset} is supported. It is not for language models whose state cannot be restored: recurrent models, and
   * models with a sliding window, unless the tokens of a run attend to each other. Start a new chat instead.
   */
  get canReset(): boolean {
    return this.#turns.canForget;
  }

  /**
   * Removes all turns, once running turns have ended: the next question starts a new conversation. The video stays evaluated,
   * so this is fast.
   * @throws LongVLMError `ERR_LONGVLM_UNSUPPORTED` if {@link canReset} is false, `ERR_LONGVLM_DISPOSED`
   */
  async reset(): Promise<void> {
    await this.#between((turns) => turns.clear());
    this.#lastAnswer = undefined;
  }

  /**
   * Adds a turn that took place elsewhere, such as before this chat was made. It is evaluated with the next question.
   * @throws LongVLMError `ERR_LONGVLM_CONTEXT_FULL`, `ERR_LONGVLM_UNSUPPORTED`, `ERR_LONGVLM_DISPOSED`
   */
  async addTurn(question: string, answer: string): Promise<void> {
    checkString('question', question);
    checkText('answer', answer);
    await this.#between(async (turns) => {
      await turns.showLastAsPast();
      checkLengths(this.#model, this.#sequence.contextSize, question, answer);
      turns.tell(question, answer);
    });
  }

  /** As {@link SequenceTurns.tellLast}. @internal */
  tellLastTurn(): Promise<boolean> {
    return this.#between((turns) => turns.tellLast());
  }

  /** As {@link SequenceTurns.takeBackLast}. @internal */
  takeBackLastTurn(): Promise<boolean> {
    return this.#between((turns) => turns.takeBackLast());
  }

  /** Memory that the context takes on this machine and its GPU, in bytes. @internal */
  contextBytes(): Promise<number> {
    return bytesOfContext(this.#model, this.#context, this.#together);
  }

  /** Does something with the turns once running ones have ended. */
  async #between<T>(work: (turns: SequenceTurns) => Promise<T>): Promise<T> {
    const release = await this.#begin(undefined);
    try {
      await this.#settled();
      return await work(this.#turns);
    } finally {
      release();
    }
  }

  async *#turn(question: string, options: AskOptions): AsyncGenerator<string, void, void> {
    const signal = options.signal ?? undefined;
    const started = performance.now();
    const release = await this.#begin(signal);
    const sequence = this.#sequence;
    let before = { index: sequence.nextTokenIndex, meter: sequence.tokenMeter.getState() };
    const { model } = this.#model;
    const answer = new AnswerText((ids) => model.detokenize(ids as Token[]), options.stop);
    const maxTokens = options.maxTokens ?? defaultMaxTokens;
    let evaluating: ReturnType<LlamaContextSequence['evaluate']> | undefined;
    let promptTokens = 0;
    let firstToken = 0;
    /** Set when the turn ends and stays in the conversation; undefined when it failed and is removed. */
    let stopReason: StopReason | undefined;
    try {
      await this.#model.checkFile();
      await this.#turns.showLastAsPast();
      before = { index: sequence.nextTokenIndex, meter: sequence.tokenMeter.getState() };
      checkLengths(this.#model, sequence.contextSize, question);
      const tokens = this.#turns.tokensOf(question);
      promptTokens = tokens.length;
      const room = sequence.contextSize - 1 - this.usedTokens;
      if (promptTokens > room) throw contextFull(sequence.contextSize, promptTokens, room);
      const sampling = { ...options, temperature: options.temperature ?? this.#temperature };
      evaluating = sequence.evaluate(
        tokens,
        await toEvaluateOptions(sampling, model, this.#model.llama, () => answer.tokens as Token[]),
      );
      while (stopReason === undefined) {
        const next = evaluating.next();
        this.#inFlight = next;
        const { value: token, done } = await raceAbort(next, signal, this.#closing.signal);
        if (answer.tokens.length === 0) firstToken = performance.now() - started;
        let text = done ? '' : answer.push(token);
        if (done) stopReason = 'endOfAnswer';
        else if (answer.stopped) stopReason = 'stop';
        else if (answer.tokens.length >= maxTokens) stopReason = 'maxTokens';
        else if (this.usedTokens + 1 >= sequence.contextSize) stopReason = 'contextFull';
        if (stopReason !== undefined) text += answer.end();
        if (text === '') continue;
        const ended: StopReason | undefined = stopReason;
        stopReason ??= 'left';
        yield text;
        stopReason = ended;
      }
    } catch (error) {
      stopReason = undefined;
      throw asLongVLMError(error, this.#model, signal);
    } finally {
      if (stopReason !== undefined) {
        // A token is evaluated only when the next one is requested; the last one is evaluated with the next question.
        const rest = stopReason === 'endOfAnswer' ? [] : (answer.tokens.slice(-1) as Token[]);
        this.#turns.ended({ question, answer: answer.text, start: before.index }, rest);
        const used = sequence.tokenMeter.diff(before.meter);
        this.#lastAnswer = {
          text: answer.text,
          tokenIds: [...answer.tokens],
          stopReason,
          video: this.video,
          promptTokens,
          evaluatedTokens: used.usedInputTokens + used.usedOutputTokens,
          timings: { firstToken, total: performance.now() - started },
        };
      }
      // An abort rejects at once; the next turn gets the sequence only when the current step has finished.
      const ended = this.#end(evaluating, stopReason === undefined ? before.index : undefined).finally(release);
      if (stopReason !== undefined) await ended;
      else ended.catch(() => {});
    }
  }

  /** Waits for the previous turn. @returns a function that starts the next one */
  async #begin(signal: AbortSignal | undefined): Promise<() => void> {
    for (const stream of this.#streams) stream.goOn();
    const before = this.#idle;
    let release!: () => void;
    const own = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.#idle = before.then(() => own);
    try {
      await raceAbort(before, signal, this.#closing.signal);
    } catch (error) {
      release();
      throw error;
    }
    return release;
  }

  /** Ends the evaluation. If a position is given, everything from there on is removed from the sequence. */
  async #end(
    evaluating: ReturnType<LlamaContextSequence['evaluate']> | undefined,
    rollbackTo: number | undefined,
  ): Promise<void> {
    await this.#settled();
    await evaluating?.return();
    if (rollbackTo !== undefined) await this.#turns.eraseFrom(rollbackTo);
  }

  /** Waits for the current step of llama.cpp. */
  async #settled(): Promise<void> {
    await this.#inFlight.catch(() => {});
  }

  get disposed(): boolean {
    return this.#disposing !== undefined;
  }

  /** Frees the context; a turn in progress ends with `ERR_LONGVLM_DISPOSED`. Safe to call twice. */
  dispose(): Promise<void> {
    this.#disposing ??= (async () => {
      this.#closing.abort(new LongVLMError('ERR_LONGVLM_DISPOSED', 'The chat was disposed. Start a new one.'));
      await this.#inFlight.catch(() => {});
      await this.#context.dispose();
      // Its turn may come after that of other chats, for which nobody is to wait.
      void trimMemory();
    })();
    return this.#disposing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
