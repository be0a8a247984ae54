// Operations on device buffers that are not started at once but become part of other work on the GPU.
import { checkInteger } from '../base/validate.js';
import type { NativeDeviceOperation } from '../binding.js';
import { nativeDims } from './arguments.js';
import type { DeviceBuffer } from './deviceBuffer.js';
import { keptTokens } from './mergeSchedule.js';
import { checkMerge, type MergedDeviceTokens, type TokenMergerOptions } from './mergeTokens.js';
import { devicePlace } from './place.js';

/** An operation of a run, behind its graph and on the same stream. */
export type DeviceOperation = NativeDeviceOperation;

/**
 * {@link mergeTokens}, into buffers of the caller's.
 * @param tokens `[segments, tokens, channels]`, written by then
 * @throws TypeError or RangeError
 */
export function mergingTokens(
  tokens: DeviceBuffer,
  options: TokenMergerOptions,
  result: MergedDeviceTokens,
): DeviceOperation {
  const { dims, heads, schedule, protect } = checkMerge(devicePlace(tokens.deviceIndex), tokens, options, undefined);
  const kept = keptTokens(dims[1], protect, schedule);
  checkInteger('the rows of result.sizes', result.sizes.dims.at(-1), kept, kept);
  return {
    operation: 'mergeTokens',
    merger: undefined,
    ...{ tokens: tokens.native(), dims, heads, schedule, protect, sizes: undefined },
    outTokens: result.tokens.native(),
    outSizes: result.sizes.native(),
    outAssignment: result.assignment.native(),
  };
}

/**
 * {@link poolClsTokens}, into a buffer of the caller's.
 * @param cls `[frames, layers, channels]`, written by then
 * @param out `[layers, channels]` of the same type
 */
export function poolingClsTokens(cls: DeviceBuffer, out: DeviceBuffer): DeviceOperation {
  const { dims } = devicePlace(cls.deviceIndex).checkFloats('cls', cls, ['frames', 'layers', 'channels']);
  return { operation: 'poolClsTokens', cls: cls.native(), dims: nativeDims(dims), out: out.native() };
}
