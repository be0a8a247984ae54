// Conversations of more than two turns: each question is asked behind all turns before it.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LanguageModel, type PromptLayout, VideoChat } from '../../dist/index.js';
import { conversations, runsOf, tinyModel } from '../fixtures/llms/index.js';

let model: LanguageModel;
beforeAll(async () => {
  model = await LanguageModel.load({ path: tinyModel('qwen2'), device: 'cpu', threads: 1 });
});
afterAll(() => model.dispose());

const { before, turns } = conversations.qwen2;
const [first, next] = turns as [number[], number[]];

// A turn is shown otherwise once another one follows it, as by models that forget their thoughts.
const shown = (answer: string) => [...first.slice(0, 3), ...model.tokenize(answer), ...next.slice(0, 2)];
const layout: PromptLayout = {
  name: 'shown otherwise',
  system: '',
  firstTurn: () => [{ tokens: before[0]! }, { video: 'all' }, { tokens: first }],
  nextTurn: () => [{ tokens: next }],
  pastTurn: ({ answer }) => [{ tokens: shown(answer) }],
};

/** The same conversation as one prompt. */
const asOnePrompt = (answers: readonly string[]): PromptLayout => ({
  ...layout,
  firstTurn: () => [
    { tokens: before[0]! },
    { video: 'all' },
    ...answers.map((answer) => ({ tokens: shown(answer) })),
    { tokens: answers.length === 0 ? first : next },
  ],
});

test.each([
  ['ended', 40],
  ['were cut off', 3],
])('turns that are shown otherwise later all stay in a conversation, whose answers %s', async (_, maxTokens) => {
  const [video] = await runsOf('qwen2');
  const options = { temperature: 0, contextSize: 512 };
  const chat = await VideoChat.create(model, video!, { ...options, template: layout });
  const answers: string[] = [];
  try {
    for (let turn = 0; turn < 4; turn++) {
      const one = await VideoChat.create(model, video!, { ...options, template: asOnePrompt(answers) });
      const expected = await one.ask('?', { maxTokens });
      answers.push(await chat.ask('?', { maxTokens }));
      expect([turn, answers.at(-1), chat.usedTokens]).toEqual([turn, expected, one.usedTokens]);
      await one.dispose();
    }
  } finally {
    await chat.dispose();
  }
});

test('a turn before one that is shown otherwise keeps the last token of an answer that was cut off', async () => {
  const [video] = await runsOf('qwen2');
  const options = { temperature: 0, contextSize: 512 };
  const onlySecond: PromptLayout = {
    ...layout,
    pastTurn: ({ answer, isFirst }) => (isFirst ? (undefined as never) : [{ tokens: shown(answer) }]),
  };
  const chat = await VideoChat.create(model, video!, { ...options, template: onlySecond });
  try {
    await chat.ask('?', { maxTokens: 4 });
    const ids = chat.lastAnswer!.tokenIds;
    const second = await chat.ask('?', { maxTokens: 4 });
    const third = await chat.ask('?', { maxTokens: 4 });
    const whole: PromptLayout = {
      ...layout,
      firstTurn: () => [
        { tokens: before[0]! },
        { video: 'all' },
        { tokens: [...first, ...ids, ...shown(second), ...next] },
      ],
    };
    const one = await VideoChat.create(model, video!, { ...options, template: whole });
    expect(third).toBe(await one.ask('?', { maxTokens: 4 }));
    expect(chat.usedTokens).toBe(one.usedTokens);
    await one.dispose();
  } finally {
    await chat.dispose();
  }
});

test('turns that took place elsewhere are seen as those of one prompt', async () => {
  const [video] = await runsOf('qwen2');
  const options = { temperature: 0, contextSize: 512 };
  const chat = await VideoChat.create(model, video!, { ...options, template: layout });
  const answers = ['red and blue', 'at the end'];
  const one = await VideoChat.create(model, video!, { ...options, template: asOnePrompt(answers) });
  try {
    for (const answer of answers) await chat.addTurn('?', answer);
    const expected = await one.ask('?', { maxTokens: 8 });
    expect([await chat.ask('?', { maxTokens: 8 }), chat.usedTokens]).toEqual([expected, one.usedTokens]);
  } finally {
    await chat.dispose();
    await one.dispose();
  }
});

test.each([
  ['are shown otherwise later', layout],
  ['stay as they are', { ...layout, pastTurn: () => undefined } as PromptLayout],
])('a chat whose turns %s goes on as one that was told of them, also where one was taken back', async (_, template) => {
  const [video] = await runsOf('qwen2');
  const options = { temperature: 0, contextSize: 512, template };
  // What the service has a chat do is not in its types.
  type Turns = { tellLastTurn(): Promise<boolean>; takeBackLastTurn(): Promise<boolean> };
  const chat = (await VideoChat.create(model, video!, options)) as VideoChat & Turns;
  const answers: string[] = [];
  try {
    for (const isTakenBack of [false, true, false, true, false]) {
      const told = await VideoChat.create(model, video!, options);
      for (const answer of answers) await told.addTurn('?', answer);
      const expected = await told.ask('?', { maxTokens: 5 });
      expect([await chat.ask('?', { maxTokens: 5 }), chat.usedTokens]).toEqual([expected, told.usedTokens]);
      await told.dispose();
      expect(await chat.tellLastTurn()).toBe(true);
      if (isTakenBack) expect(await chat.takeBackLastTurn()).toBe(true);
      else answers.push(expected);
    }
  } finally {
    await chat.dispose();
  }
});
