// Videos at addresses that are not of the public internet, where these are not allowed: by name, by redirect and by rebinding.
import dns from 'node:dns';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import net, { type AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openVideo } from '../../dist/video/openVideo.js';
import { isPublicAddress } from '../../dist/video/publicAddress.js';

const asked: (string | undefined)[] = [];
const server = createServer((request, response) => {
  asked.push(request.url);
  const target = new URL(`http://${request.headers.host}${request.url}`).searchParams.get('to');
  if (target === null) response.end('no video');
  else response.writeHead(302, { location: target }).end();
});
let port: number;
beforeAll(async () => {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  port = (server.address() as AddressInfo).port;
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});

const open = (url: string, limits: object = { privateAddresses: false }) => openVideo(url, { limits });
const refused = {
  code: 'ERR_LONGVLM_FETCH',
  message: expect.stringMatching(/not of the public internet\. Give another/),
};

test.each([
  ...['10.1.2.3', '100.64.0.1', '127.0.0.1', '169.254.169.254', '172.31.255.255', '192.168.0.1', '0.0.0.0'],
  ...['198.19.0.1', '224.0.0.1', '255.255.255.255', '::', '::1', '::ffff:8.8.8.8', '::ffff:127.0.0.1', 'fe80::1'],
  ...['fc00::1', '64:ff9b::7f00:1', '2001:db8::1', '2002:7f00:1::', 'ff02::1', 'localhost', '8.8.8.8:80', ''],
])('%s is not public', (address) => expect(isPublicAddress(address)).toBe(false));
test.each(['8.8.8.8', '172.32.0.1', '192.169.0.1', '2606:4700::1111', '2a00:1450:4001::'])('%s is', (address) =>
  expect(isPublicAddress(address)).toBe(true),
);

test.each(['127.0.0.1', 'localhost', '2130706433', '0x7f.1', '[::1]', '[::ffff:127.0.0.1]', '0'])(
  'a private address written %s is not asked',
  async (host) => {
    await expect(open(`http://${host}:${port}/talk.mp4`)).rejects.toMatchObject(refused);
    expect(asked).toEqual([]);
  },
);

test('a redirect of a public server to a private address is not followed', async () => {
  const { connect } = net;
  // The public server, which is reached as through a router.
  net.connect = ((options: net.TcpNetConnectOpts) =>
    options.host === 'public.example' ? connect({ host: '127.0.0.1', port }) : connect(options)) as typeof net.connect;
  try {
    for (const to of [`http://127.0.0.1:${port}/inner`, `http://localhost:${port}/inner`])
      await expect(open(`http://public.example/?to=${encodeURIComponent(to)}`)).rejects.toMatchObject(refused);
    expect(asked.splice(0)).toHaveLength(2);
  } finally {
    net.connect = connect;
  }
});

test('a name is resolved once: what it leads to later does not count', async () => {
  const { lookup } = dns;
  const answers = ['192.0.2.1', '8.8.8.8', '127.0.0.1'];
  const given: string[] = [];
  dns.lookup = ((_: string, __: object, callback: (error: null, found: dns.LookupAddress[]) => void) => {
    given.push(answers[given.length]!);
    callback(null, [{ address: given.at(-1)!, family: 4 }]);
  }) as unknown as typeof dns.lookup;
  syncBuiltinESMExports();
  try {
    await expect(open(`http://rebinding.example:${port}/`)).rejects.toMatchObject(refused);
    const limits = { privateAddresses: false, timeoutSeconds: 0.5 };
    await expect(open(`http://rebinding.example:${port}/`, limits)).rejects.toMatchObject({ code: refused.code });
    expect([given, asked]).toEqual([['192.0.2.1', '8.8.8.8'], []]);
  } finally {
    dns.lookup = lookup;
    syncBuiltinESMExports();
  }
});

test('a host that is not allowed is not asked, nor one that an allowed host redirects to', async () => {
  const url = (host: string, rest = '') => `http://${host}:${port}/${rest}`;
  const only = { hosts: ['127.0.0.1', '*.example.org'] };
  const notAllowed = { code: 'ERR_LONGVLM_FETCH', message: expect.stringMatching(/not at a host that is allowed/) };
  await expect(open(url('localhost'), only)).rejects.toMatchObject(notAllowed);
  await expect(open(url('example.org.evil.test'), only)).rejects.toMatchObject(notAllowed);
  expect(asked).toEqual([]);
  await expect(open(url('127.0.0.1', `?to=${url('localhost')}`), only)).rejects.toMatchObject(notAllowed);
  expect(asked).toHaveLength(1);
});
