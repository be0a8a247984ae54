import { randomUUID } from 'node:crypto';
import { linkedController } from '../base/abort.js';
import { readOptions } from '../base/options.js';
import { checkSignal, checkString, wrongType } from '../base/validate.js';
import { LongVLM } from '../longvlm.js';
import { checkLimits, type VideoLimits } from '../video/limits.js';
import { answerPieces, type VideoSources } from './answering.js';
import { type Call, readCall, type VideoOptions, videoOptionNames } from './call.js';
import type { CallOptions, Finish, GenerateResult, ResponseMetadata, StreamPart, Usage } from './types.js';

/** Options of {@link createLongVLM}; those of a video are defaults, which `providerOptions.longvlm` of a call overrides. */
export type LongVLMModelOptions = VideoOptions & {
  /** What the SDK calls the model. Defaults to the name that was loaded, such as `nano`, or `longvlm`. */
  modelId?: string;
  /** Limits for videos. Defaults to the library's, but `privateAddresses` to `false`: messages often are a stranger's. */
  limits?: VideoLimits;
  /** The folder that `file:` URLs may lead to. Defaults to none: they are refused. */
  root?: string;
};

/** A language model for the AI SDK: a `LanguageModelV3` of `@ai-sdk/provider`. */
export type LongVLMLanguageModel = {
  readonly specificationVersion: 'v3';
  readonly provider: string;
  readonly modelId: string;
  /** URLs that the model fetches itself. */
  readonly supportedUrls: Record<string, RegExp[]>;
  doGenerate(options: CallOptions): Promise<GenerateResult>;
  doStream(options: CallOptions): Promise<{ stream: ReadableStream<StreamPart> }>;
};

/**
 * A language model of Vercel's AI SDK (`ai` 6 and 7) that answers questions about a video, without a server. Put the video into the
 * first message of the user, as a part `{ type: 'file', mediaType: 'video/mp4', data }`: bytes, a URL, pictures, or what
 * {@link VideoFeatures.toBytes} gave. It has no tools; `Output.object()` holds answers to a JSON schema.
 *
 * The SDK sends the whole conversation with each question: load with `cache: true`, so that its video is encoded once.
 * @param vlm stays yours: dispose it when no call goes on
 * @throws TypeError or RangeError for a wrong option
 * @example
 * ```ts
 * const vlm = await LongVLM.load({ cache: true });
 * const { text } = await generateText({
 *   model: createLongVLM(vlm),
 *   messages: [{ role: 'user', content: [
 *     { type: 'file', mediaType: 'video/mp4', data: await readFile('talk.mp4') },
 *     { type: 'text', text: 'What does she solder first?' },
 *   ] }],
 * });
 * ```
 */
export function createLongVLM(vlm: LongVLM, options: LongVLMModelOptions = {}): LongVLMLanguageModel {
  if (!(vlm instanceof LongVLM)) wrongType('vlm', 'LongVLM', vlm);
  const given = readOptions(options, ['modelId', 'limits', 'root', ...videoOptionNames]);
  const { modelId = vlm.preset ?? 'longvlm', limits, root, ...defaults } = given;
  checkString('modelId', modelId);
  if (root !== undefined) checkString('root', root);
  const urls = root === undefined ? [/^https?:\/\//] : [/^https?:\/\//, /^file:\/\//];
  const sources: VideoSources = { limits: { privateAddresses: false, ...limits }, root };
  checkLimits(sources.limits);
  const named = (): ResponseMetadata => ({ id: `longvlm-${randomUUID()}`, timestamp: new Date(), modelId });

  return {
    specificationVersion: 'v3',
    provider: 'longvlm',
    modelId,
    supportedUrls: { 'video/*': urls, 'image/*': urls },

    async doGenerate(callOptions) {
      const call = readCall(callOptions, defaults);
      const pieces = answerPieces(vlm, call, sources);
      let text = '';
      for (;;) {
        const { value, done } = await pieces.next();
        if (done) return { content: [{ type: 'text', text }], response: named(), warnings: call.warnings, ...value };
        text += value;
      }
    },

    async doStream(callOptions) {
      const { controller, unlink } = linkedController(checkSignal(callOptions.abortSignal));
      try {
        const call = readCall({ ...callOptions, abortSignal: controller.signal }, defaults);
        const parts = streamParts(answerPieces(vlm, call, sources), call, named());
        return { stream: streamOf(parts, controller, unlink) };
      } catch (error) {
        unlink();
        throw error;
      }
    },
  };
}

async function* streamParts(
  pieces: AsyncGenerator<string, Finish, void>,
  { warnings, chat }: Call,
  response: ResponseMetadata,
): AsyncGenerator<StreamPart, void, void> {
  const id = '0';
  let begun = false;
  yield { type: 'stream-start', warnings };
  yield { type: 'response-metadata', ...response };
  try {
    for (;;) {
      const { value, done } = await pieces.next();
      if (!begun) yield { type: 'text-start', id };
      begun = true;
      if (done) {
        yield { type: 'text-end', id };
        yield { type: 'finish', ...value };
        return;
      }
      yield { type: 'text-delta', id, delta: value };
    }
  } catch (error) {
    // The SDK tells an abort by a stream that fails.
    if (chat.signal?.aborted) throw error;
    yield { type: 'error', error };
    yield { type: 'finish', finishReason: { unified: 'error', raw: undefined }, usage: unknownUsage };
  } finally {
    // A reader may leave in the middle.
    await pieces.return(undefined as never);
  }
}

const unknownUsage: Usage = {
  inputTokens: { total: undefined, noCache: undefined, cacheRead: undefined, cacheWrite: undefined },
  outputTokens: { total: undefined, text: undefined, reasoning: undefined },
};

/** A stream that is generated as it is read. A reader that cancels ends the work. */
function streamOf(
  parts: AsyncGenerator<StreamPart, void, void>,
  ending: AbortController,
  unlink: () => void,
): ReadableStream<StreamPart> {
  return new ReadableStream<StreamPart>(
    {
      async pull(stream) {
        try {
          const { value, done } = await parts.next();
          if (!done) return stream.enqueue(value);
          unlink();
          stream.close();
        } catch (error) {
          unlink();
          throw error;
        }
      },
      async cancel(reason) {
        ending.abort(reason);
        await parts.return().catch(() => {});
        unlink();
      },
    },
    { highWaterMark: 0 },
  );
}
