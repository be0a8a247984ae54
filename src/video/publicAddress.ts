// Which addresses are of the public internet, and requests that reach no others.
import { type LookupAddress, lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

/** Special-purpose addresses, which are not of the public internet: IANA's registries for IPv4, and for IPv6 below 2000::/3. */
const special = new BlockList();
for (const [address, bits] of [
  ...([
    ['0.0.0.0', 8],
    ['10.0.0.0', 8],
    ['100.64.0.0', 10],
    ['127.0.0.0', 8],
    ['169.254.0.0', 16],
  ] as const),
  ...([
    ['172.16.0.0', 12],
    ['192.0.0.0', 24],
    ['192.0.2.0', 24],
    ['192.31.196.0', 24],
    ['192.52.193.0', 24],
  ] as const),
  ...([
    ['192.88.99.0', 24],
    ['192.168.0.0', 16],
    ['192.175.48.0', 24],
    ['198.18.0.0', 15],
  ] as const),
  ...([
    ['198.51.100.0', 24],
    ['203.0.113.0', 24],
    ['224.0.0.0', 3],
  ] as const),
])
  special.addSubnet(address, bits, 'ipv4');
for (const [address, bits] of [
  ...([
    ['2001::', 23],
    ['2001:db8::', 32],
    ['2002::', 16],
    ['2620:4f:8000::', 48],
    ['3fff::', 20],
  ] as const),
])
  special.addSubnet(address, bits, 'ipv6');
/** All that is given out to the public. Addresses that stand for others, such as those of IPv4, are outside. */
const global = new BlockList();
global.addSubnet('2000::', 3, 'ipv6');

/** Whether an IP address, as text, is one of the public internet. */
export function isPublicAddress(address: string): boolean {
  const family = isIP(address);
  if (family === 4) return !special.check(address, 'ipv4');
  return family === 6 && global.check(address, 'ipv6') && !special.check(address, 'ipv6');
}

/** A name leads to, or is, an address that is not public. */
export class PrivateAddress extends Error {
  constructor() {
    super('the address is not of the public internet');
  }
}

/**
 * Resolves a name for a connection, which then goes to one of the addresses that were checked: the name is not asked for again.
 */
const lookupPublic: LookupFunction = (name, options, callback) => {
  lookup(name, { ...options, all: true }, (error, addresses: LookupAddress[] = []) => {
    const [first] = addresses;
    if (error || first === undefined) return callback(error ?? new Error(`${name} has no address`), '');
    if (!addresses.every(({ address }) => isPublicAddress(address))) return callback(new PrivateAddress(), '');
    if (options.all) return callback(null, addresses);
    callback(null, first.address, first.family);
  });
};

type Undici = typeof import('undici');
let loaded:
  | Promise<{ readonly fetch: Undici['fetch']; readonly dispatcher: InstanceType<Undici['Agent']> }>
  | undefined;

/**
 * `fetch()` that connects to addresses of the public internet alone.
 * @throws PrivateAddress where the URL has another one, or, as the cause of fetch's error, where its name leads to another one
 */
export async function fetchPublic(url: URL, init: Pick<RequestInit, 'headers' | 'redirect'> & { signal: AbortSignal }) {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  // Nothing is looked up for an address.
  if (isIP(host) !== 0 && !isPublicAddress(host)) throw new TypeError('fetch failed', { cause: new PrivateAddress() });
  // The package's own: Node's fetch takes dispatchers of its own release only.
  loaded ??= import('undici').then(({ fetch, Agent }) => ({
    fetch,
    dispatcher: new Agent({ connect: { lookup: lookupPublic }, keepAliveTimeout: 1000 }),
  }));
  const { fetch, dispatcher } = await loaded;
  return (await fetch(url, { ...init, dispatcher } as Parameters<typeof fetch>[1])) as unknown as Response;
}
