import { types } from 'node:util';
import { LongVLMError } from '../base/errors.js';
import { checkObject, checkString, wrongType } from '../base/validate.js';
import { type TensorLocation, type WeightFile, weightsError } from './tensorFile.js';

/**
 * Finds a floating-point tensor that a graph can use in place.
 *
 * @param shape the expected shape; -1 stands for any size.
 * @throws LongVLMError `ERR_LONGVLM_WEIGHTS` when the tensor is missing or has a wrong shape or type; `ERR_LONGVLM_FILE` when
 * the shard that holds it is missing. The messages name the tensor or shard.
 */
export function requireTensor(file: WeightFile, name: string, shape: readonly number[]): TensorLocation {
  if (!types.isMap(checkObject('file', file).tensors)) wrongType('file.tensors', 'Map', file.tensors);
  checkString('name', name);
  if (!Array.isArray(shape)) wrongType('shape', 'array', shape);
  const tensor = file.tensors.get(name);
  if (!tensor) {
    const other = file.absent?.get(name);
    if (other !== undefined)
      throw new LongVLMError(
        'ERR_LONGVLM_FILE',
        `${other} does not exist, which holds tensor ${name}. Download it, too.`,
      );
    throw weightsError(file.path, `tensor ${name} is missing`, 'Use the complete weights of this model.');
  }
  if (tensor.type !== 'F32' && tensor.type !== 'F16' && tensor.type !== 'BF16')
    throw weightsError(
      file.path,
      `tensor ${name} is of type ${tensor.type}, which cannot be run`,
      'Convert it to F32, F16 or BF16.',
    );
  const fits =
    tensor.shape.length === shape.length && shape.every((size, axis) => size < 0 || size === tensor.shape[axis]);
  if (!fits)
    throw weightsError(
      file.path,
      `tensor ${name} has shape [${tensor.shape.join(', ')}] where [${shape.map((size) => (size < 0 ? 'any' : size)).join(', ')}] is needed`,
      'Use weights and configuration of the same model.',
    );
  if (tensor.shape.includes(0))
    throw weightsError(file.path, `tensor ${name} of shape [${tensor.shape.join(', ')}] holds no values`);
  return tensor;
}
