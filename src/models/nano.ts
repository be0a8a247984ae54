import { fileURLToPath } from 'node:url';
import { type Preset, readPreset } from './preset.js';

// Beside `dist`, where this file is compiled to, as beside `src`.
const folder = fileURLToPath(new URL('../../models/nano', import.meta.url));

/**
 * The model that comes with this package.
 * @throws LongVLMError `ERR_LONGVLM_PRESET` when the package is not whole
 */
export function readNano(): Preset {
  return readPreset('nano', folder, 'Name vision, projector and llm, or install a longvlm that has it.');
}
