// The scheduler: what runs at a time, in which order, and who is refused.
import { expect, test } from 'vitest';
import { LaneScheduler, QueueFull } from '../../../dist/jobs/laneScheduler.js';

const limits = { request: 1, fetch: 1, decode: 2, encode: 1, answer: 1 };

/** Work that ends when it is told to, and notes when it begins. */
function works() {
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  const work = (name: string) => () =>
    new Promise<string>((resolve) => {
      begun.push(name);
      ends.set(name, () => resolve(name));
    });
  return { begun, work, end: (name: string) => ends.get(name)!() };
}
const settled = () => new Promise((resolve) => setImmediate(resolve));

test('clients take turns, however much one has waiting, and lanes do not wait for each other', async () => {
  const scheduler = new LaneScheduler(limits, 10);
  const { begun, work, end } = works();
  const [a, b] = [scheduler.of('a'), scheduler.of('b')];
  const all = ['a1', 'a2', 'a3'].map((name) => a.run('encode', work(name)));
  all.push(b.run('encode', work('b1')), b.run('encode', work('b2')), a.run('decode', work('decoding')));
  for (const name of ['a1', 'a2', 'b1', 'a3', 'b2']) {
    await settled();
    expect(begun.filter((each) => each !== 'decoding').at(-1)).toBe(name);
    end(name);
  }
  end('decoding');
  await Promise.all(all);
  expect(scheduler.load.encode).toEqual({ running: 0, waiting: 0 });
});

test('a full queue refuses the last of the client that has most of it', async () => {
  const scheduler = new LaneScheduler(limits, 2);
  const { begun, work, end } = works();
  const running = scheduler.request('a', work('a1'));
  const waits = scheduler.request('a', work('a2'));
  const dropped = scheduler.request('a', work('a3')).catch((error: unknown) => error);
  await expect(scheduler.request('a', work('a4'))).rejects.toThrow(QueueFull);
  const other = scheduler.request('b', work('b1'));
  expect(await dropped).toMatchObject({ retryAfter: 3 });
  await expect(scheduler.request('b', work('b2'))).rejects.toThrow(QueueFull);
  for (const name of ['a1', 'a2', 'b1']) {
    await settled();
    end(name);
  }
  expect(await Promise.all([running, waits, other])).toEqual(['a1', 'a2', 'b1']);
  expect(begun).toEqual(['a1', 'a2', 'b1']);
});

test('who gives up waiting does not keep a place, and failed work frees its own', async () => {
  const scheduler = new LaneScheduler(limits, 2);
  const { work, end, begun } = works();
  const gone = new AbortController();
  const failing = scheduler.of('a').run('answer', () => Promise.reject(new Error('failed')));
  const first = scheduler.of('a').run('answer', work('first'));
  const waiting = scheduler.of('a').run('answer', work('waiting'), gone.signal);
  gone.abort(new Error('gone'));
  await expect(waiting).rejects.toThrow('gone');
  await expect(failing).rejects.toThrow('failed');
  await settled();
  end('first');
  await first;
  await expect(scheduler.of('a').run('answer', work('never'), gone.signal)).rejects.toThrow('gone');
  expect([begun, scheduler.load.answer]).toEqual([['first'], { running: 0, waiting: 0 }]);
});
