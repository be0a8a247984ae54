import { hashOf } from '../base/hash.js';
import { realRoot } from '../base/root.js';
import { checkInteger, wrongType } from '../base/validate.js';
import { samplingIdentity } from '../encode/sampling.js';
import { LaneScheduler } from '../jobs/laneScheduler.js';
import { modelsIdentity } from '../load/modelsIdentity.js';
import { LongVLM } from '../longvlm.js';
import { readSettings, type ServiceOptions } from '../service/settings.js';
import { failureOf, requestFailureOf } from './failure.js';
import { type BatchRunner, isRequest } from './item.js';
import { QuestionRunner } from './questionRunner.js';
import { RequestRunner } from './requestRunner.js';

/** Options of {@link embeddedRunner}. */
export type EmbeddedRunnerOptions = {
  /**
   * How many videos are worked on at a time: half of them, rounded down, are encoded and half are answered, at least one each, and
   * all are fetched and read. Defaults to `2`.
   */
  parallel?: number | undefined;
  /** What requests may do, as for the service: by default they name no files of this machine, and public addresses alone. */
  requests?: Pick<ServiceOptions, 'folders' | 'limits' | 'maxFrames' | 'contextSize'> | undefined;
};

/** How much of each kind of work goes on for so many videos. */
export function lanesFor(parallel: number) {
  const half = Math.max(1, parallel >> 1);
  return { decode: parallel, encode: half, answer: half };
}

/**
 * Answers items with models that are loaded in this process. Features of the last videos are kept for further questions.
 * @param vlm stays the caller's, who disposes it after the runner
 * @throws TypeError or RangeError for a wrong option; LongVLMError `ERR_LONGVLM_FILE` for a folder that is none
 */
export async function embeddedRunner(vlm: LongVLM, options: EmbeddedRunnerOptions = {}): Promise<BatchRunner> {
  if (!(vlm instanceof LongVLM)) wrongType('vlm', 'LongVLM', vlm);
  const { parallel = 2, requests = {} } = options;
  checkInteger('parallel', parallel, 1);
  const settings = readSettings({ ...requests, lanes: lanesFor(parallel) });
  const folders = await Promise.all(settings.folders.map(realRoot));
  const scheduler = new LaneScheduler(settings.lanes, 0).of('batch');
  const questions = new QuestionRunner(vlm, scheduler, parallel);
  const bodies = new RequestRunner(vlm, scheduler, settings, folders);
  const sampling = samplingIdentity(vlm.encoder.settle());
  const { template, temperature } = vlm;
  return {
    identity: hashOf([await modelsIdentity(vlm.models), sampling, template, temperature]),
    run: (item, context) =>
      isRequest(item)
        ? bodies.answer(item, context).catch((error) => requestFailureOf(item.id, error, context.signal))
        : questions.answer(item, context).catch((error) => failureOf(item.id, error, context.signal)),
    dispose: () => questions.dispose(),
  };
}
