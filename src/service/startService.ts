import type { LongVLM } from '../longvlm.js';
import type { Service } from './service.js';
import type { ServiceOptions } from './settings.js';

/**
 * Answers questions about videos over HTTP, in OpenAI's format, as `longvlm serve` does: see docs/service.md.
 * @param vlm stays the caller's, who disposes it once the service is closed
 * @throws TypeError or RangeError for a wrong option, or an address that cannot be listened at; LongVLMError `ERR_LONGVLM_FILE` for a
 *   folder that is none
 * @example
 * ```ts
 * const vlm = await LongVLM.load({ cache: true });
 * const service = await startService(vlm, { port: 0, folders: ['/srv/videos'] });
 * console.log(service.url); // the base URL of OpenAI's clients is `${service.url}/v1`
 * await service.close();
 * await vlm.dispose();
 * ```
 */
export async function startService(vlm: LongVLM, options: ServiceOptions = {}): Promise<Service> {
  // Loaded here, as programs that serve nothing need no HTTP.
  const service = await import('./service.js');
  return service.startService(vlm, options);
}
