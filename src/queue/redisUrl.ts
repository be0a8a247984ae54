// Where a queue's server is.
import { wrongValue } from '../base/validate.js';

/** A server, as ioredis takes it. */
export type RedisAddress = {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly username?: string;
  readonly password?: string;
  readonly tls?: object;
};

const tlsOf: Readonly<Record<string, boolean>> = {
  'redis:': false,
  'valkey:': false,
  'rediss:': true,
  'valkeys:': true,
};

/**
 * Reads `redis://[user:password@]host[:port][/db]`; `rediss:` is with TLS.
 * @throws RangeError, whose message has no password
 */
export function readRedisUrl(text: string): RedisAddress {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const tls = url && tlsOf[url.protocol];
  const db = /^\/?(\d{0,6})$/.exec(url?.pathname ?? '')?.[1];
  const username = decoded(url?.username ?? '');
  const password = decoded(url?.password ?? '');
  const known = tls !== undefined && db !== undefined && username !== undefined && password !== undefined;
  if (!url || !known || url.hostname === '' || url.search !== '' || url.hash !== '')
    return wrongValue(
      'queue',
      'URL like redis://host:6379 or rediss://user:password@host:6379/0',
      withoutSecrets(text),
    );
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? 6379 : Number(url.port),
    db: Number(db),
    ...(username !== '' && { username }),
    ...(password !== '' && { password }),
    ...(tls && { tls: {} }),
  };
}

/** The server in words, without what is secret. */
export function addressName({ host, port, tls }: RedisAddress): string {
  return `${tls ? 'rediss' : 'redis'}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}

function withoutSecrets(text: string): string {
  return text.replace(/\/\/.*@/s, '//...@');
}
