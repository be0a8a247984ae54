// POST /v1/inspect
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { LongVLMError } from '../base/errors.js';
import type { Scheduler } from '../base/scheduler.js';
import { parse } from '../base/schema.js';
import type { Inspection } from '../inspect/inspection.js';
import { lookAt } from '../inspect/inspectVideo.js';
import { planTokens } from '../inspect/plan.js';
import type { TokenPlan } from '../inspect/tokenPlan.js';
import type { LaneScheduler } from '../jobs/laneScheduler.js';
import type { LongVLM } from '../longvlm.js';
import { checkModelName, hidden } from './answerer.js';
import { ApiError } from './apiError.js';
import { readConversation } from './conversation.js';
import { type InspectRequest, inspectRequest, withQuestions } from './inspectRequest.js';
import { type MediaSources, videoOf } from './media.js';
import type { RequestSignals } from './requestSignals.js';
import type { Settings } from './settings.js';
import { readVideoSampling } from './videoSampling.js';

/** What the route works with. */
export type InspectParts = {
  readonly vlm: LongVLM;
  readonly model: string;
  readonly settings: Settings;
  readonly sources: MediaSources;
  readonly scheduler: LaneScheduler;
  readonly signals: RequestSignals;
  readonly clientOf: (request: FastifyRequest) => string;
};

export function addInspectRoute(app: FastifyInstance, parts: InspectParts): void {
  app.post<{ Querystring: { plan?: unknown } }>('/v1/inspect', async (request, reply) => {
    const body = parse(inspectRequest, request.body ?? {}, 'body');
    checkModelName(body.model, parts.model);
    // `?plan` without a value is an empty text.
    const { plan = body.plan ?? false } = request.query;
    if (plan === true || plan === '' || plan === 'true' || plan === '1') return planOf(parts, body);
    const { scheduler, signals } = parts;
    const { signal, end } = signals.of(reply);
    const client = parts.clientOf(request);
    const work = () => signals.within(signal, (limited) => inspectionOf(parts, body, scheduler.of(client), limited));
    return scheduler.request(client, work, signal).finally(end);
  });
}

function samplingOf({ vlm, settings }: InspectParts, body: InspectRequest) {
  return readVideoSampling(body, vlm.encoder.settle(), settings.maxFrames);
}

function planOf(parts: InspectParts, body: InspectRequest): TokenPlan {
  const { part } = body.longvlm ?? {};
  return planTokens(parts.vlm, {
    sampling: samplingOf(parts, body),
    part,
    budgets: body.budgets ?? undefined,
    duration: body.duration ?? undefined,
  });
}

async function inspectionOf(
  parts: InspectParts,
  body: InspectRequest,
  scheduler: Scheduler,
  signal: AbortSignal,
): Promise<Inspection> {
  const { vlm, settings, sources } = parts;
  if (body.messages == null)
    throw new ApiError(400, 'Give messages with a video, as for a chat.', { param: 'messages' });
  const { media, question, system } = readConversation(withQuestions(body.messages));
  const { part, timestamps, template } = body.longvlm ?? {};
  const sampling = samplingOf(parts, body);
  vlm.encoder.settle(sampling);
  const { input, paths } = await videoOf(media, sources);
  try {
    const { inspection } = await lookAt(vlm, input, {
      ...{ sampling, limits: settings.limits, question, system, part, timestamps, template, signal, scheduler },
      thumbnails: body.thumbnails ?? undefined,
    });
    const warnings = inspection.video.warnings.map((warning) => hidden(warning, paths));
    return { ...inspection, video: { ...inspection.video, warnings } };
  } catch (error) {
    if (!(error instanceof LongVLMError)) throw error;
    throw new LongVLMError(error.code, hidden(error.message, paths), { cause: error });
  }
}
