// Which context a conversation finds, and which goes for want of memory. What is in them: ../../model/keptContexts.test.ts
import { describe, expect, test } from 'vitest';
import type { VideoChat } from '../../../dist/index.js';
import { KeptChats } from '../../../dist/service/keptChats.js';

type Options = { bytes?: number; contextSize?: number; tells?: boolean; takesBack?: boolean };

/** As much of a chat as is kept. */
class Chat {
  disposed = false;
  takenBack = 0;
  readonly contextSize: number;
  constructor(readonly options: Options = {}) {
    this.contextSize = options.contextSize ?? 100;
  }
  async contextBytes() {
    return this.options.bytes ?? 10;
  }
  async tellLastTurn() {
    return this.options.tells ?? true;
  }
  async takeBackLastTurn() {
    this.takenBack++;
    return this.options.takesBack ?? true;
  }
  async dispose() {
    this.disposed = true;
  }
}

const turns = (...names: string[]) => names.map((name) => ({ question: `${name}?`, answer: `${name}.` }));

async function keptWith(mostBytes: number, ...all: [subject: string, names: string[], options?: Options][]) {
  const kept = new KeptChats(mostBytes);
  const chats: Chat[] = [];
  for (const [subject, names, options] of all) {
    const chat = new Chat(options);
    chats.push(chat);
    await kept.keep(subject, turns(...names), chat as unknown as VideoChat);
  }
  const take = async (subject: string, names: string[], size = 50) => {
    const found = await kept.take(subject, turns(...names), size);
    return found && { index: chats.indexOf(found.chat as unknown as Chat), turns: found.turns };
  };
  return { kept, chats, take };
}

describe('a conversation finds', () => {
  test('the context that has most of it, and no other conversation finds that until it is back', async () => {
    const { take, kept } = await keptWith(
      100,
      ['v', ['a', 'b']],
      ['v', ['a']],
      ['v', ['a', 'b', 'c']],
      ['w', ['a', 'b', 'c']],
    );
    expect(await take('v', ['a', 'b', 'c'])).toEqual({ index: 2, turns: 3 });
    expect(await take('v', ['a', 'b', 'c'])).toEqual({ index: 0, turns: 2 });
    expect(await take('v', ['a', 'b', 'c'])).toEqual({ index: 1, turns: 1 });
    expect(await take('v', ['a', 'b', 'c'])).toBeUndefined();
    expect([kept.count, kept.bytes]).toEqual([1, 10]);
  });

  test('one with another last turn, which is taken back, and none with two turns more', async () => {
    const { take, chats } = await keptWith(100, ['v', ['a', 'b']], ['v', ['x']]);
    expect(await take('v', [])).toEqual({ index: 1, turns: 0 });
    expect(await take('v', [])).toBeUndefined();
    expect(await take('v', ['a', 'other'])).toEqual({ index: 0, turns: 1 });
    expect(chats.map(({ takenBack }) => takenBack)).toEqual([1, 1]);
  });

  test('no context that is too small, of another answer, or whose turn cannot be taken back', async () => {
    const { take, chats, kept } = await keptWith(
      100,
      ['v', ['a'], { contextSize: 40 }],
      ['v', ['b'], { takesBack: false }],
    );
    expect(await take('v', ['a'])).toBeUndefined();
    expect([chats[1]!.disposed, kept.count]).toEqual([true, 1]);
    expect(await take('v', ['a'], 40)).toEqual({ index: 0, turns: 1 });
  });
});

test('beyond the memory, the least recently used go; larger ones, and those that cannot go on, are not kept', async () => {
  const { chats, kept, take } = await keptWith(25, ['v', ['a']], ['v', ['b']], ['v', ['c']]);
  expect(chats.map(({ disposed }) => disposed)).toEqual([true, false, false]);
  expect(await take('v', ['b'])).toEqual({ index: 1, turns: 1 });
  await kept.keep('v', turns('b', 'd'), chats[1] as unknown as VideoChat);
  for (const options of [{ bytes: 26 }, { tells: false }]) {
    const chat = new Chat(options);
    await kept.keep('v', turns('e'), chat as unknown as VideoChat);
    expect(chat.disposed).toBe(true);
  }
  const last = new Chat();
  await kept.keep('v', turns('f'), last as unknown as VideoChat);
  expect(chats.map(({ disposed }) => disposed)).toEqual([true, false, true]);
  await kept.dispose();
  expect([chats[1]!.disposed, last.disposed, kept.count, kept.bytes]).toEqual([true, true, 0, 0]);
  const late = new Chat();
  await kept.keep('v', [], late as unknown as VideoChat);
  expect(late.disposed).toBe(true);
});

test('without memory none is kept', async () => {
  const { chats, kept } = await keptWith(0, ['v', ['a'], { bytes: 0 }]);
  expect([chats[0]!.disposed, kept.count]).toEqual([true, 0]);
});
