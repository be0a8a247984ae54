// Features as plain data: what JSON, structuredClone() and postMessage() make of them.
import { types } from 'node:util';
import { isReadable, wrongType, wrongValue } from '../base/validate.js';
import { featuresBytes, formatName } from './featuresFile.js';
import type { VideoFeaturesInit } from './featuresInit.js';

/** What `JSON.stringify()` writes for features: the file that `VideoFeatures.save()` writes, in base64. */
export type FeaturesJson = { readonly format: typeof formatName; readonly safetensors: string };

// The longest string of V8 has 2^29 - 24 characters, and JSON adds some.
const mostBytes = 2 ** 28;

/** @throws RangeError for features that no string can hold */
export function featuresJson(features: VideoFeaturesInit): FeaturesJson {
  const { local, global } = features;
  const most = mostBytes / Float32Array.BYTES_PER_ELEMENT;
  const values = local.data.length + global.data.length;
  if (values > most)
    wrongValue('values of the features, for JSON (toBytes() has no such limit)', `number of at most ${most}`, values);
  const bytes = featuresBytes(features);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
  return { format: formatName, safetensors: text };
}

/** The bytes in a {@link FeaturesJson}; undefined for anything else. @throws TypeError for one without */
export function bytesInJson(value: unknown): Uint8Array | undefined {
  if (!isReadable(value) || (value as Partial<FeaturesJson>).format !== formatName) return undefined;
  const { safetensors } = value as Partial<FeaturesJson>;
  if (typeof safetensors !== 'string') wrongType('features.safetensors', 'text in base64', safetensors);
  return Buffer.from(safetensors, 'base64');
}

/** Bytes that were given. @throws TypeError for anything else */
export function checkBytes(name: string, value: unknown): Uint8Array {
  if (types.isUint8Array(value)) return value;
  if (types.isAnyArrayBuffer(value)) return new Uint8Array(value);
  return wrongType(name, 'Uint8Array or ArrayBuffer', value);
}
