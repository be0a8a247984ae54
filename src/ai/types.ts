// What of the AI SDK's specification v3 is used here, in shapes that its own types fit: no package is needed to compile against it.

/** A part of a message. */
export type MessagePart = {
  readonly type: string;
  /** Of a text. */
  readonly text?: string;
  /** Of a file: its bytes, base64, or a URL. */
  readonly data?: unknown;
  readonly mediaType?: string;
};

/** A message. */
export type PromptMessage =
  | { readonly role: 'system'; readonly content: string }
  | { readonly role: 'user' | 'assistant' | 'tool'; readonly content: readonly MessagePart[] };

/** How an answer is wanted. What is not listed is not read. */
export type CallOptions = {
  readonly prompt: readonly PromptMessage[];
  readonly maxOutputTokens?: number | undefined;
  readonly temperature?: number | undefined;
  readonly topP?: number | undefined;
  readonly topK?: number | undefined;
  readonly presencePenalty?: number | undefined;
  readonly frequencyPenalty?: number | undefined;
  readonly stopSequences?: readonly string[] | undefined;
  readonly seed?: number | undefined;
  readonly responseFormat?: { readonly type: 'text' | 'json'; readonly schema?: unknown } | undefined;
  readonly tools?: readonly unknown[] | undefined;
  readonly abortSignal?: AbortSignal | undefined;
  readonly providerOptions?: { readonly [provider: string]: { readonly [option: string]: unknown } } | undefined;
};

/** What of a call has no effect. */
export type CallWarning = { type: 'unsupported'; feature: string; details: string };

/** Why an answer ended; `raw` is the library's own word. */
export type FinishReason = { unified: 'stop' | 'length' | 'error'; raw: string | undefined };

/** Tokens of the prompt, the video's among them, and of the answer. */
export type Usage = {
  inputTokens: {
    total: number | undefined;
    noCache: number | undefined;
    cacheRead: undefined;
    cacheWrite: undefined;
  };
  outputTokens: { total: number | undefined; text: number | undefined; reasoning: undefined };
};

/** A value that JSON can hold. */
export type Json = null | string | number | boolean | Json[] | { [key: string]: Json | undefined };

/** What is told of a call beside its answer, under `longvlm`. */
export type ProviderMetadata = { longvlm: { [key: string]: Json | undefined } };

/** Which answer it is. */
export type ResponseMetadata = { id: string; timestamp: Date; modelId: string };

/** How an answer ended. */
export type Finish = { finishReason: FinishReason; usage: Usage; providerMetadata?: ProviderMetadata };

/** A whole answer. */
export type GenerateResult = Finish & {
  content: { type: 'text'; text: string }[];
  response: ResponseMetadata;
  warnings: CallWarning[];
};

/** A piece of an answer. */
export type StreamPart =
  | { type: 'stream-start'; warnings: CallWarning[] }
  | ({ type: 'response-metadata' } & ResponseMetadata)
  | { type: 'text-start' | 'text-end'; id: string }
  | { type: 'text-delta'; id: string; delta: string }
  | ({ type: 'finish' } & Finish)
  | { type: 'error'; error: unknown };
