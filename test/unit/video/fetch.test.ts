// Real servers on the loopback that do what servers should not: each is refused in time, and nothing is left on disk.
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Progress } from '../../../dist/base/progress.js';
import { type OpenVideoOptions, openVideo } from '../../../dist/video/openVideo.js';
import { folder, picoVideo } from './videoFiles.js';

const temporary = mkdtempSync(join(folder, 'tmp-'));
const before = process.env.TMPDIR;
const MiB = 1 << 20;
const bytes = readFileSync(picoVideo);

let answer: (request: IncomingMessage, response: ServerResponse) => void;
const asked: IncomingMessage[] = [];
const server = createServer((request, response) => {
  asked.push(request);
  answer(request, response);
});
const other = createServer((request, response) => {
  asked.push(request);
  response.end(bytes);
});
const base = (of = server) => `http://127.0.0.1:${(of.address() as AddressInfo).port}`;

beforeAll(async () => {
  process.env.TMPDIR = temporary;
  for (const each of [server, other]) await once(each.listen(0, '127.0.0.1'), 'listening');
});
afterAll(() => {
  if (before === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = before;
  for (const each of [server, other]) {
    each.close();
    each.closeAllConnections();
  }
});
afterEach(() => {
  asked.length = 0;
  expect(readdirSync(temporary)).toEqual([]);
});

/** Opens `path` of the server that answers by `how`, which is to fail. */
function failing(how: typeof answer, options: OpenVideoOptions = {}, path = '/talk.mp4') {
  answer = how;
  return expect(openVideo(`${base()}${path}`, options)).rejects;
}

function fetchError(message: RegExp) {
  return { name: 'LongVLMError', code: 'ERR_LONGVLM_FETCH', message: expect.stringMatching(message) };
}

/** Writes for as long as somebody takes it. */
function endless(_: unknown, response: ServerResponse): void {
  const piece = Buffer.alloc(64 << 10);
  const write = () => {
    while (!response.destroyed && response.write(piece));
  };
  response.on('drain', write);
  write();
}

/** A promise that `response` ends, by whomever. */
const closed = (response: ServerResponse) => new Promise<void>((fulfil) => response.on('close', fulfil));

describe('openVideo() refuses a server that', () => {
  test('never stops, and lets go of it', async () => {
    let gone: Promise<void> | undefined;
    const seen: Progress[] = [];
    await failing(
      (request, response) => {
        gone = closed(response);
        endless(request, response);
      },
      { limits: { maxBytes: 3 * MiB }, onProgress: (progress) => seen.push(progress) },
    ).toMatchObject(fetchError(/^'http:\/\/127.*\/talk\.mp4' is larger than 3145728 bytes\. .*limit maxBytes/));
    await gone;
    expect(seen.length).toBeGreaterThan(1);
    expect(seen.every(({ done, total }) => done <= 3 * MiB && total === 0)).toBe(true);
  });

  test('announces too much, before it sends anything', async () => {
    const seen: Progress[] = [];
    await failing(
      (_, response) => {
        response.writeHead(200, { 'Content-Length': 9 * 2 ** 30 });
        response.flushHeaders();
      },
      { onProgress: (progress) => seen.push(progress) },
    ).toMatchObject(fetchError(/is larger than 8589934592 bytes/));
    expect(seen.every(({ done }) => done === 0)).toBe(true);
  });

  test('unfolds to too much', async () => {
    const folded = gzipSync(Buffer.alloc(5 * MiB));
    await failing((_, response) => response.writeHead(200, { 'Content-Encoding': 'gzip' }).end(folded), {
      limits: { maxBytes: MiB },
    }).toMatchObject(fetchError(/is larger than 1048576 bytes/));
  });

  test('says nothing at all', async () => {
    await failing(() => {}, { limits: { idleSeconds: 0.2 } }).toMatchObject(
      fetchError(/talk\.mp4' sent nothing for 0\.2 s\. Try again, or raise the limit idleSeconds\.$/),
    );
  });

  test('falls silent in the middle', async () => {
    await failing((_, response) => response.write(bytes), { limits: { idleSeconds: 0.2 } }).toMatchObject(
      fetchError(/sent nothing for 0\.2 s/),
    );
  });

  test('is slow without end', async () => {
    await failing(
      (_, response) => {
        const drip = setInterval(() => response.write('x'), 5);
        response.on('close', () => clearInterval(drip));
      },
      { limits: { idleSeconds: 60, timeoutSeconds: 0.5 } },
    ).toMatchObject(fetchError(/was not there after 0\.5 s\. .*limit timeoutSeconds/));
  });

  test('breaks off in the middle', async () => {
    await failing((_, response) => {
      response.writeHead(200, { 'Content-Length': bytes.length });
      response.write(bytes.subarray(0, 1000), () => response.destroy());
    }).toMatchObject(fetchError(/talk\.mp4' broke off: /));
  });

  test('resets the connection', async () => {
    await failing((request, response) => {
      response.write(bytes.subarray(0, 1000), () => request.socket.resetAndDestroy());
    }).toMatchObject(fetchError(/broke off: /));
    await failing((request) => request.socket.resetAndDestroy()).toMatchObject(
      fetchError(/cannot be reached: .*RESET/),
    );
  });

  test.each([404, 403, 500, 304])('answers %i', async (status) => {
    await failing((_, response) => response.writeHead(status).end()).toMatchObject(
      fetchError(new RegExp(`talk\\.mp4' is refused by the server: ${status} \\w+`)),
    );
  });

  test('redirects in circles', async () => {
    const how: typeof answer = ({ url }, response) =>
      response.writeHead(302, { Location: url === '/a.mp4' ? '/b.mp4' : '/a.mp4' }).end();
    await failing(how, {}, '/a.mp4').toMatchObject(fetchError(/a\.mp4' is redirected more than 5 times/));
    expect(asked.map(({ url }) => url)).toEqual(['/a.mp4', '/b.mp4', '/a.mp4', '/b.mp4', '/a.mp4', '/b.mp4']);
    await failing(how, { limits: { maxRedirects: 0 } }).toMatchObject(fetchError(/more than 0 times/));
  });

  test.each([
    ['a file', `file://${picoVideo}`, /is redirected to a URL of file:\. Only http: and https:/],
    ['data', 'data:video/mp4;base64,AAAA', /to a URL of data:/],
    ['no URL', 'http://[', /to what is no URL/],
  ])('redirects to %s', async (_, location, message) => {
    await failing((_, response) => response.writeHead(307, { Location: location }).end()).toMatchObject(
      fetchError(message),
    );
  });

  test('is not there', async () => {
    const gone = createServer();
    await once(gone.listen(0, '127.0.0.1'), 'listening');
    const url = `${base(gone)}/x.mp4`;
    await new Promise((fulfil) => gone.close(fulfil));
    await expect(openVideo(url)).rejects.toMatchObject(fetchError(/x\.mp4' cannot be reached: .*ECONNREFUSED/));
  });

  test('fails for the second of some pictures, and removes the first', async () => {
    answer = ({ url }, response) => response.writeHead(url === '/0.png' ? 200 : 404).end('x');
    const frames = [0, 1, 2].map((i) => `${base()}/${i}.png`);
    await expect(openVideo({ frames })).rejects.toMatchObject(fetchError(/1\.png' is refused/));
    expect(asked.map(({ url }) => url)).toEqual(['/0.png', '/1.png']);
    answer = (_, response) => response.end(Buffer.alloc(1000));
    const options = { limits: { maxBytes: 2500 } };
    await expect(openVideo({ frames }, options)).rejects.toMatchObject(fetchError(/2\.png' is larger than 2500 bytes/));
  });
});

describe('openVideo() follows redirects', () => {
  test('to another server, without the user and password', async () => {
    answer = ({ url }, response) =>
      response.writeHead(301, { Location: url === '/a.mp4' ? '/b.mp4' : `${base(other)}/c.mp4?key=1` }).end();
    const video = await openVideo(base().replace('//', '//me:p%40ss@').concat('/a.mp4'));
    expect(video.name).toBe('a.mp4');
    expect((await video.probe()).frameCount).toBe(252);
    await video.dispose();
    const authorization = `Basic ${Buffer.from('me:p@ss').toString('base64')}`;
    expect(asked.map(({ url, headers }) => [url, headers.authorization])).toEqual([
      ['/a.mp4', authorization],
      ['/b.mp4', authorization],
      ['/c.mp4?key=1', undefined],
    ]);
  });

  test('and tells neither password nor query', async () => {
    answer = (_, response) => response.writeHead(401).end();
    const url = `${base().replace('//', '//me:secret@')}/a.mp4?token=secret`;
    await expect(openVideo(url)).rejects.toMatchObject(fetchError(/^(?!.*(secret|me:)).*\/a\.mp4' is refused.*401/));
  });
});

describe('openVideo() leaves nothing when it is aborted', () => {
  test('before the server answers', async () => {
    const controller = new AbortController();
    await failing(() => controller.abort('enough'), { signal: controller.signal }).toBe('enough');
  });

  test('in the middle, and ends the connection', async () => {
    const controller = new AbortController();
    let gone: Promise<void> | undefined;
    let onDisk: string[] = [];
    const onProgress = ({ done }: Progress) => {
      if (done < 2 * MiB) return;
      onDisk = readdirSync(temporary);
      controller.abort('enough');
    };
    await failing(
      (request, response) => {
        gone = closed(response);
        endless(request, response);
      },
      { signal: controller.signal, onProgress },
    ).toBe('enough');
    expect(onDisk).toHaveLength(1);
    await gone;
  });

  test('while a stream is waited for, and destroys the stream', async () => {
    for (const kind of ['node', 'web'] as const) {
      const controller = new AbortController();
      const stream = new PassThrough();
      let cancelled: unknown;
      const web = new ReadableStream<Uint8Array>({
        start: (to) => to.enqueue(Buffer.alloc(2 * MiB)),
        cancel: () => {
          cancelled = true;
        },
      });
      stream.write(Buffer.alloc(2 * MiB));
      let pieces = 0;
      const onProgress = ({ done }: Progress) => done > 0 && pieces++ === 0 && controller.abort('enough');
      const options = { signal: controller.signal, onProgress };
      await expect(openVideo(kind === 'node' ? stream : web, options)).rejects.toBe('enough');
      expect(kind === 'node' ? stream.destroyed : cancelled).toBe(true);
    }
  });
});

describe('openVideo() of a stream', () => {
  test('keeps to the limits', async () => {
    const stream = new PassThrough();
    stream.write('x');
    const idle = openVideo(stream, { limits: { idleSeconds: 0.2 } });
    await expect(idle).rejects.toMatchObject(fetchError(/^'video' sent nothing for 0\.2 s/));
    expect(stream.destroyed).toBe(true);
    let given = 0;
    const endlessStream = new ReadableStream<Uint8Array>({
      pull: (to) => {
        given += MiB;
        to.enqueue(new Uint8Array(MiB));
      },
    });
    const large = openVideo(endlessStream, { limits: { maxBytes: 3 * MiB } });
    await expect(large).rejects.toMatchObject(fetchError(/^'video' is larger than 3145728 bytes/));
    expect(given).toBeLessThan(8 * MiB);
    await expect(openVideo(bytes, { limits: { maxBytes: 9 } })).rejects.toMatchObject(
      fetchError(/larger than 9 bytes/),
    );
  });

  test('tells why it failed', async () => {
    const stream = new PassThrough();
    stream.write('x', () => stream.destroy(new Error('the camera is gone')));
    await expect(openVideo(stream)).rejects.toMatchObject(fetchError(/^'video' broke off: the camera is gone/));
    const web = new ReadableStream<Uint8Array>({ pull: () => Promise.reject(new Error('no cable')) });
    await expect(openVideo(web)).rejects.toMatchObject(fetchError(/broke off: no cable/));
  });
});
