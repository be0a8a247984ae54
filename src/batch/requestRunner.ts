// Answers requests for chat completions, which are understood as the service does.
import type { Scheduler } from '../base/scheduler.js';
import { parse } from '../base/schema.js';
import type { LongVLM } from '../longvlm.js';
import { Answerer, checkModelName, modelName } from '../service/answerer.js';
import { ApiError } from '../service/apiError.js';
import { chatRequest } from '../service/chatRequest.js';
import { completion, completionHead } from '../service/completions.js';
import type { Settings } from '../service/settings.js';
import type { BatchCompletion, ItemContext, RequestItem } from './item.js';

export class RequestRunner {
  readonly #model: string;
  readonly #answerer: Answerer;
  readonly #scheduler: Scheduler;

  /** @param folders real paths of the folders that `file:` URLs may lead to */
  constructor(vlm: LongVLM, scheduler: Scheduler, settings: Settings, folders: readonly string[]) {
    this.#model = modelName(vlm);
    this.#scheduler = scheduler;
    // Nothing is uploaded.
    this.#answerer = new Answerer(vlm, settings, { folders, files: { pathOf: () => undefined } });
  }

  /** @throws as {@link Answerer.answer} */
  async answer({ id, body }: RequestItem, { signal }: ItemContext): Promise<BatchCompletion> {
    const request = parse(chatRequest, body, 'body');
    if (request.stream)
      throw new ApiError(400, 'Answers of a batch come as a whole. Leave stream out.', { param: 'stream' });
    checkModelName(request.model, this.#model);
    const head = completionHead(this.#model);
    const prepared = await this.#answerer.prepare(request);
    const answered = await this.#answerer.answer(prepared, this.#scheduler, signal);
    return { id, response: { status: 200, body: completion(head, answered) } };
  }
}
