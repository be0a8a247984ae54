// Who answers the requests of a service: this process, or others.
import type { OnProgress } from '../base/progress.js';
import type { Scheduler } from '../base/scheduler.js';
import type { Answer } from '../llm/answer.js';
import type { ChatRequest } from './chatRequest.js';
import type { FileStore } from './fileStore.js';

/** An answer, and what was used for it. */
export type Answered = {
  readonly answer: Answer;
  /** Tokens before the answer: the video, all turns before, and the question. */
  readonly promptTokens: number;
  /** Those of them that a kept context had. */
  readonly cachedTokens: number;
  /** Those of them that are the video's. */
  readonly videoTokens: number;
  /** What was really used, for the response. */
  readonly used: object;
};

/** What a request comes with. */
export type Asked = {
  /** Whom it belongs to, as {@link Access.clientOf} tells. */
  readonly client: string;
  readonly scheduler: Scheduler;
  readonly signal: AbortSignal;
  /** Called with each piece of the answer. */
  readonly onText?: ((text: string) => void) | undefined;
  /** Called while the video is fetched, read and encoded. */
  readonly onProgress?: OnProgress | undefined;
};

/** Answers a request. @throws ApiError, or what {@link apiError} makes one of */
export type AnswerRequest = (request: ChatRequest, asked: Asked) => Promise<Answered>;

/** Answers the requests of a service elsewhere. It is given what the service itself would work with. */
export type AnswerElsewhere = (service: {
  /** Checks a request as far as that can be done without its video. */
  readonly check: (request: ChatRequest) => Promise<unknown>;
  readonly files: FileStore;
  /** Where the service listens. */
  readonly url: () => string;
}) => AnswerRequest;
