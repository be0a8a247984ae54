// Who may ask: keys, and no other web page.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { ApiError } from './apiError.js';
import { isLoopback } from './loopback.js';
import { pageRoutes } from './pageRoutes.js';

/** Paths that need no key. */
const open: ReadonlySet<string> = new Set(['/health', '/openapi.json', ...pageRoutes]);

/** Checks each request. */
export class Access {
  readonly #keys: readonly Buffer[];
  readonly #local: boolean;

  /** @param host the address that the service listens at */
  constructor(keys: readonly string[], host: string) {
    this.#keys = keys.map(digest);
    this.#local = isLoopback(host);
  }

  /** @throws ApiError for a request that may not be answered */
  check(request: FastifyRequest): void {
    const { host, origin } = request.headers;
    // The page of another site may send a user's browser here, by a name that leads to this machine.
    if (this.#local && !isLoopback(nameIn(host)))
      throw new ApiError(421, 'This service answers to localhost alone. Name its address in the option host.');
    if (origin !== undefined && nameIn(originHost(origin)) !== nameIn(host))
      throw new ApiError(403, 'Pages of other sites may not use this service.');
    if (this.#keys.length === 0 || open.has(request.routeOptions.url ?? '')) return;
    const key = /^Bearer +(\S+)\s*$/i.exec(request.headers.authorization ?? '')?.[1];
    if (key === undefined)
      throw new ApiError(401, 'Give an API key, as the header Authorization: Bearer KEY.', { code: 'missing_api_key' });
    const given = digest(key);
    // All of them, so that the time tells nothing.
    if (!this.#keys.map((each) => timingSafeEqual(each, given)).includes(true))
      throw new ApiError(401, 'The API key is wrong.', { code: 'invalid_api_key' });
  }

  /** Whom a request belongs to: its key, else its address. */
  clientOf(request: FastifyRequest): string {
    const key = this.#keys.length > 0 ? request.headers.authorization : undefined;
    return key === undefined ? request.ip : digest(key).toString('hex');
  }
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

/** The name in a Host header, without port and brackets. */
function nameIn(host: string | undefined): string | undefined {
  return host
    ?.replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase();
}

function originHost(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
