import { webcrypto } from 'node:crypto';
import { hashOf } from '../base/hash.js';
import type { VideoFeatures } from './videoFeatures.js';

const known = new WeakMap<VideoFeatures, Promise<string>>();

/** SHA-256 of all of the features that a language model sees, or its prompt says: equal ones are evaluated alike. */
export function featuresIdentity(features: VideoFeatures): Promise<string> {
  const found = known.get(features) ?? identify(features);
  known.set(features, found);
  return found;
}

async function identify(features: VideoFeatures): Promise<string> {
  await features.bringDown();
  const { sampling, grid, tower, projector, source, segments } = features;
  const parts = [
    features.global.data,
    features.local.data,
    features.timestamps,
    features.positions ?? new Int32Array(),
  ];
  // Not on the event loop, as there may be many.
  const digests = await Promise.all(parts.map((part) => webcrypto.subtle.digest('SHA-256', part)));
  return hashOf({
    ...{ sampling, grid, tower, projector, segments, durationSeconds: source.durationSeconds },
    digests: digests.map((digest) => Buffer.from(digest).toString('hex')),
  });
}
