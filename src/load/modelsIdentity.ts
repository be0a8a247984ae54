import { hashOf } from '../base/hash.js';
import { weightsFingerprint } from '../cache/fingerprint.js';
import type { ModelsDescription } from './describeModels.js';

/** A hash of the weights of all loaded models. */
export async function modelsIdentity({ vision, projector, llm }: ModelsDescription): Promise<string> {
  return hashOf([vision.identity, projector?.identity, llm && (await weightsFingerprint(llm.path))]);
}
