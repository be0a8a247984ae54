import { reasonOf } from '../base/errors.js';
import { type ByteSource, webSource } from './byteSource.js';
import type { FetchBudget } from './fetchBudget.js';
import { fetchPublic, PrivateAddress } from './publicAddress.js';

/**
 * Requests `url` by HTTP and follows redirects, but only to `http:` and `https:` URLs.
 *
 * A user and password in the URL are sent to its own origin only, and never appear in messages.
 *
 * @throws LongVLMError `ERR_LONGVLM_FETCH` when the server cannot be reached or may not be, refuses the request, redirects too
 * often, or redirects to another protocol; `budget.signal.reason`.
 */
export async function openUrl(url: URL, budget: FetchBudget): Promise<ByteSource> {
  const { maxRedirects } = budget.limits;
  let authorization = authorizationOf(url);
  let at = url;
  for (let redirects = 0; ; redirects++) {
    const response = await ask(at, authorization, budget);
    const { status, headers, body } = response;
    const location = status >= 300 && status < 400 ? headers.get('location') : null;
    if (location === null) {
      if (response.ok && body !== null) return webSource(body, lengthOf(headers));
      void body?.cancel().catch(() => {});
      const says = `${status} ${response.statusText}`.trim();
      throw budget.error(`is refused by the server: ${says}`, 'Check the URL.');
    }
    void body?.cancel().catch(() => {});
    if (redirects === maxRedirects)
      throw budget.error(`is redirected more than ${maxRedirects} times`, 'Give the URL of the video itself.');
    const next = URL.canParse(location, at.href) ? new URL(location, at) : undefined;
    if (next?.protocol !== 'http:' && next?.protocol !== 'https:')
      throw budget.error(
        `is redirected to ${next ? `a URL of ${next.protocol}` : 'what is no URL'}`,
        'Only http: and https: are followed.',
      );
    authorization = authorizationOf(next) ?? (next.origin === at.origin ? authorization : undefined);
    at = next;
  }
}

async function ask(url: URL, authorization: string | undefined, budget: FetchBudget): Promise<Response> {
  const { signal, limits } = budget;
  if (limits.hosts && !limits.hosts.some((host) => isOf(host, url.hostname)))
    throw budget.error('is not at a host that is allowed', 'Give a URL at another host.');
  const plain = new URL(url);
  plain.username = '';
  plain.password = '';
  // No compression: the Content-Length of a compressed response is not the size of the content.
  const headers = { 'Accept-Encoding': 'identity', ...(authorization !== undefined && { authorization }) };
  try {
    const request = { headers, signal, redirect: 'manual' } as const;
    return await (limits.privateAddresses ? fetch(plain, request) : fetchPublic(plain, request));
  } catch (error) {
    signal.throwIfAborted();
    if ((error as Error).cause instanceof PrivateAddress)
      throw budget.error('leads to an address that is not of the public internet', 'Give another URL.', error);
    throw budget.error(`cannot be reached: ${reasonOf(error)}`, 'Check the URL and the network.', error);
  }
}

/** Whether a host is the allowed one, or, for `*.NAME`, is below it. */
function isOf(allowed: string, host: string): boolean {
  const name = allowed.toLowerCase();
  return name.startsWith('*.') ? host.endsWith(name.slice(1)) : host === name;
}

/** A URL without components that may be secret: user, password, query and fragment. */
export function publicName({ origin, pathname }: URL): string {
  return origin + pathname;
}

function authorizationOf({ username, password }: URL): string | undefined {
  if (username === '' && password === '') return undefined;
  const userAndPassword = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return `Basic ${Buffer.from(userAndPassword).toString('base64')}`;
}

function lengthOf(headers: Headers): number {
  const length = Number(headers.get('content-length'));
  return headers.has('content-encoding') || !Number.isSafeInteger(length) ? 0 : length;
}
