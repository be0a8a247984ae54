// The HTTP service of one LongVLM.
import type { AddressInfo } from 'node:net';
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { messageOf } from '../base/errors.js';
import { realRoot } from '../base/root.js';
import { LaneScheduler } from '../jobs/laneScheduler.js';
import type { LongVLM } from '../longvlm.js';
import { Access } from './access.js';
import { Answerer, modelName } from './answerer.js';
import type { AnswerRequest } from './answering.js';
import { ApiError, ClientGone } from './apiError.js';
import type { ChatRequest } from './chatRequest.js';
import { addChatRoute, asApiError } from './chatRoute.js';
import { addFileRoutes } from './fileRoutes.js';
import { FileStore } from './fileStore.js';
import { addInspectRoute } from './inspectRoute.js';
import { KeptChats } from './keptChats.js';
import { lingerOnUnreadBodies } from './lingering.js';
import { Metrics } from './metrics.js';
import { addOpenApi } from './openApi.js';
import { addPageRoutes } from './pageRoutes.js';
import { RequestSignals } from './requestSignals.js';
import { readSettings, type ServiceOptions, type Settings } from './settings.js';
import { UploadRoom } from './uploadRoom.js';
import { UploadStore } from './uploadStore.js';

/** A running service. */
export type Service = {
  /** Where it listens, such as `http://127.0.0.1:8000`. */
  readonly url: string;
  /**
   * Takes no more requests, gives those in work the time of `graceSeconds`, ends what is left, and waits for its end. The models stay
   * loaded.
   * @param signal aborts the waiting
   */
  close(signal?: AbortSignal | null): Promise<void>;
};

/** How long the last words to clients may take once all work was stopped. */
const lastWordsMs = 1000;

/**
 * Answers questions about videos over HTTP, in OpenAI's format.
 * @param vlm stays the caller's, who disposes it once the service is closed
 * @throws TypeError or RangeError for a wrong option, or an address that cannot be listened at; LongVLMError `ERR_LONGVLM_FILE` for a
 *   folder that is none
 */
export async function startService(vlm: LongVLM, options: ServiceOptions = {}): Promise<Service> {
  const settings = readSettings(options);
  const folders = await Promise.all(settings.folders.map(realRoot));
  const signals = new RequestSignals(settings.requestSeconds);
  const scheduler = new LaneScheduler(settings.lanes, settings.maxWaiting);
  const access = new Access(settings.apiKeys, settings.host);
  const model = modelName(vlm);
  const kept = new KeptChats(settings.contextMemory);
  const metrics = new Metrics(scheduler, kept);
  const app = makeApp(settings);
  addErrors(app, settings);
  limitBodies(app, settings.bodySeconds);
  lingerOnUnreadBodies(app);
  app.addHook('onResponse', async ({ routeOptions }, { statusCode, elapsedTime }) =>
    metrics.onResponse(routeOptions.url ?? 'none', statusCode, elapsedTime),
  );
  app.addHook('onRequest', async (request) => access.check(request));
  const room = new UploadRoom(settings.limits, settings.uploads.mostBytes);
  const files = new FileStore(room, settings.uploads);
  const uploads = new UploadStore(files, room, settings.uploads);
  const sources = { folders, files };
  const clientOf = (request: FastifyRequest) => access.clientOf(request);
  // Before the document of the API, which the page is no part of.
  if (settings.page) await addPageRoutes(app);
  addOpenApi(app);
  await addFileRoutes(app, { files, uploads, room, signals, clientOf, bodySeconds: settings.bodySeconds });
  const answerer = new Answerer(vlm, settings, sources, kept);
  const here: AnswerRequest = async (request, { client, scheduler, signal, onText, onProgress }) => {
    const prepared = await answerer.prepare(request, client);
    return answerer.answer({ ...prepared, chat: { ...prepared.chat, onProgress } }, scheduler, signal, onText);
  };
  const check = (request: ChatRequest) => answerer.prepare(request);
  const answer = options.answerElsewhere?.({ check, files, url: () => urlOf(app) }) ?? here;
  addChatRoute(app, {
    ...{ model, scheduler, signals, clientOf, answer },
    onAnswered: (answered) => metrics.onAnswered(answered),
    log: (request, error) => logFailure(settings, request, error),
  });
  addInspectRoute(app, { vlm, model, settings, sources, scheduler, signals, clientOf });
  app.get('/v1/models', async () => ({ object: 'list', data: [describeModel(vlm, model)] }));
  app.get<{ Params: { model: string } }>('/v1/models/:model', async ({ params }) => {
    if (params.model !== model)
      throw new ApiError(404, 'There is no such model here.', { param: 'model', code: 'model_not_found' });
    return describeModel(vlm, model);
  });
  app.get('/health', async () => ({ status: 'ok' }));
  app.get('/metrics', async (_, reply) => reply.type(metrics.type).send(await metrics.text()));
  await listen(app, settings);
  return {
    url: urlOf(app),
    close: (signal) =>
      close(app, signals, settings, signal ?? undefined).finally(async () => {
        await Promise.all([uploads.dispose(), kept.dispose()]);
        await files.dispose();
      }),
  };
}

function urlOf(app: FastifyInstance): string {
  const { address, family, port } = app.server.address() as AddressInfo;
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}

async function listen(app: FastifyInstance, { host, port }: Settings): Promise<void> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRINUSE')
      throw new RangeError(`Expected port that is free for port but received ${port}, which another program uses`);
    if (code === 'EACCES')
      throw new RangeError(`Expected port that this user may use for port but received ${port}; above 1023 all may`);
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EAI_AGAIN')
      throw new RangeError(`Expected address of this machine for host but received ${host}`);
    throw error;
  }
}

function makeApp({ maxBodyBytes }: Settings): FastifyInstance {
  return fastify({
    bodyLimit: maxBodyBytes,
    // Idle connections are closed with the service, others when they have been answered.
    forceCloseConnections: 'idle',
    // Uploads have limits of their own, other bodies come sooner.
    requestTimeout: 0,
    exposeHeadRoutes: false,
    http: { headersTimeout: 15_000, connectionsCheckingInterval: 5000 },
  });
}

/** Ends connections whose request does not come, as Node would. */
function limitBodies(app: FastifyInstance, bodySeconds: number): void {
  const timers = new WeakMap<FastifyRequest, NodeJS.Timeout>();
  app.addHook('onRequest', async (request) => {
    if (request.isMultipart()) return;
    const { socket } = request.raw;
    const end = () => socket.end('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n', () => socket.destroy());
    timers.set(request, setTimeout(end, bodySeconds * 1000).unref());
  });
  const clear = async (request: FastifyRequest) => clearTimeout(timers.get(request));
  app.addHook('preValidation', clear);
  app.addHook('onResponse', clear);
}

function addErrors(app: FastifyInstance, settings: Settings): void {
  const send = (request: FastifyRequest, reply: FastifyReply, error: ApiError) => {
    logFailure(settings, request, error);
    if (error.retryAfter !== undefined) reply.header('retry-after', String(error.retryAfter));
    return reply.code(error.status).send(error.toJSON());
  };
  app.setErrorHandler<FastifyError>((error, request, reply) => send(request, reply, asApiError(error)));
  app.setNotFoundHandler((request, reply) =>
    send(request, reply, new ApiError(404, 'There is no such address here: see /openapi.json.')),
  );
  app.addHook('onResponse', async (request, reply) => {
    settings.onLog(`${lineOf(request)} ${reply.statusCode} ${Math.round(reply.elapsedTime)} ms`);
  });
}

/** A request without what its sender wrote. */
function lineOf(request: FastifyRequest): string {
  return `${request.id} ${request.method} ${request.routeOptions.url ?? '(unknown)'}`;
}

/** Only faults of the service are told with their message: others may have content of the request. */
function logFailure({ onLog }: Settings, request: FastifyRequest, { status, code, cause }: ApiError): void {
  const why = `failed ${status}${code === null ? '' : ` ${code}`}${status === 500 ? `: ${messageOf(cause)}` : ''}`;
  onLog(`${lineOf(request)} ${cause instanceof ClientGone ? 'ended: its client went away' : why}`);
}

function describeModel(vlm: LongVLM, id: string) {
  const { frames, segmentFrames, tokensPerSegment } = vlm.sampling;
  return {
    ...{ id, object: 'model', created: 0, owned_by: 'longvlm' },
    max_model_len: vlm.models.llm?.trainContextSize,
    longvlm: { frames, segmentFrames, tokensPerSegment },
  };
}

async function close(
  app: FastifyInstance,
  signals: RequestSignals,
  { graceSeconds }: Settings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { server } = app;
  const stop = () => {
    signals.stop();
    // Who does not take its last words goes without them.
    timers.push(setTimeout(() => server.closeAllConnections(), lastWordsMs));
  };
  const timers = [setTimeout(stop, graceSeconds * 1000)];
  // A connection whose answer ends from now on would be kept for the client's next request.
  timers.push(setInterval(() => server.closeIdleConnections(), 50));
  if (signal?.aborted) stop();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    await app.close();
  } finally {
    for (const timer of timers) clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}
