// The process in which the chat template of a model's file runs. A template is a program of whoever made the file: here it has
// its own memory, and time and steps that end.

import { runInThisContext } from 'node:vm';
import * as jinja from '@huggingface/jinja';
import { isErrorOf } from '../../base/errors.js';
import { strftime } from './strftime.js';

/** A message as templates know it: its content is a text, or a list of typed parts. */
export type Message = {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string | readonly { readonly type: 'text'; readonly text: string }[];
};

/** What the process is asked for. */
export type RenderJob = {
  readonly template: string;
  /** Variables of the template besides the messages. */
  readonly variables: Readonly<Record<string, unknown>>;
  readonly conversations: readonly (readonly Message[])[];
  readonly limits: { readonly steps: number; readonly characters: number; readonly milliseconds: number };
};

/** A conversation as the template renders it, or why it does not. */
export type Rendered = { readonly text: string } | { readonly problem: string };

type Statement = { readonly type: string };
type Loop = Statement & { readonly body: readonly Statement[] };
type Jinja = {
  Template: new (template: string) => { render(variables: Record<string, unknown>): string };
  Interpreter: {
    prototype: {
      evaluate(this: unknown, statement: Statement, environment: unknown): unknown;
      evaluateBlock(this: unknown, statements: readonly Statement[], environment: unknown): { value: string };
      evaluateFor(this: unknown, loop: Loop, environment: unknown): unknown;
    };
  };
  Environment: {
    new (parent: unknown): unknown;
    prototype: { set: (this: unknown, name: string, value: unknown) => unknown };
  };
};

// The package's own types do not resolve: they import without file endings.
const { Template, Interpreter, Environment } = jinja as unknown as Jinja;

process.on('disconnect', () => process.exit());
process.once('message', (job: RenderJob) => {
  void answer(job).then((rendered) => process.send?.(rendered, () => process.disconnect()));
});

async function answer(job: RenderJob): Promise<Rendered[]> {
  const run = () => renderAll(job);
  const failed = (problem: string) => job.conversations.map(() => ({ problem }));
  // The parent may be gone by the time that a template has gone on for too long: it is stopped from within, too.
  (globalThis as { run?: typeof run }).run = run;
  try {
    return runInThisContext('run()', { timeout: job.limits.milliseconds }) as Rendered[];
  } catch (error) {
    return failed(reasonOf(error));
  }
}

function renderAll({ template, variables, conversations, limits }: RenderJob) {
  runLoopsAsPython();
  const { evaluate } = Interpreter.prototype;
  let steps = 0;
  Interpreter.prototype.evaluate = function (statement, environment) {
    if (++steps > limits.steps) throw new Error(`it takes more than ${limits.steps} steps`);
    return evaluate.call(this, statement, environment);
  };
  // In the place of the library's own, which know neither limits nor the C locale.
  const own: Readonly<Record<string, unknown>> = {
    range: boundedRange(limits.steps),
    strftime_now: (format: unknown) => strftime(new Date(), String(format)),
  };
  const { set } = Environment.prototype;
  Environment.prototype.set = function (name, value) {
    return set.call(this, name, Object.hasOwn(own, name) ? own[name] : value);
  };
  const parsed = new Template(template);
  return conversations.map((messages): Rendered => {
    try {
      const text = parsed.render({ ...variables, messages, add_generation_prompt: true });
      if (text.length > limits.characters) return { problem: `it makes more than ${limits.characters} characters` };
      return { text };
    } catch (error) {
      return { problem: reasonOf(error) };
    }
  });
}

/** A break or continue on its way to its loop, and what was written on the way. */
class Leaving extends Error {
  text = '';
  constructor(readonly statement: Statement) {
    super(`it has a ${statement.type.toLowerCase()} outside of a loop`);
  }
}

/**
 * Makes loops do as Jinja's, in two ways in which the library's do not: what is set in one turn is not known in the next, and
 * what was written before a break or continue is kept.
 */
function runLoopsAsPython(): void {
  const { prototype } = Interpreter;
  const { evaluate, evaluateBlock, evaluateFor } = prototype;
  const loops: { readonly body: readonly Statement[]; left?: Statement }[] = [];
  prototype.evaluate = function (statement, environment) {
    if (statement?.type === 'Break' || statement?.type === 'Continue') throw new Leaving(statement);
    return evaluate.call(this, statement, environment);
  };
  prototype.evaluateFor = function (loop, environment) {
    loops.push({ body: loop.body });
    try {
      return evaluateFor.call(this, loop, environment);
    } finally {
      loops.pop();
    }
  };
  prototype.evaluateBlock = function (statements, environment) {
    const inner = loops.at(-1);
    const loop = inner?.body === statements ? inner : undefined;
    // The library's own: it ends the loop, whose text would be lost if the break itself did.
    if (loop?.left) evaluate.call(this, loop.left, environment);
    const scope = loop ? new Environment(environment) : environment;
    const block = evaluateBlock.call(this, [], scope);
    try {
      for (const statement of statements) block.value += evaluateBlock.call(this, [statement], scope).value;
    } catch (error) {
      if (!(error instanceof Leaving)) throw error;
      error.text = block.value + error.text;
      if (!loop) throw error;
      if (error.text === '') evaluate.call(this, error.statement, scope);
      if (error.statement.type === 'Break') loop.left = error.statement;
      block.value = error.text;
    }
    return block;
  };
}

/** Python's range(), which makes a list here. */
function boundedRange(most: number) {
  return (start: number, stop?: number, step = 1): number[] => {
    const [from, to] = typeof stop === 'number' ? [start, stop] : [0, start];
    const count = Math.max(0, Math.ceil((to - from) / (step || Number.NaN)));
    if (!(count <= most)) throw new Error(`it takes more than ${most} steps`);
    return Array.from({ length: count }, (_, index) => from + index * step);
  };
}

function reasonOf(error: unknown): string {
  if (isErrorOf(error, 'RangeError')) return 'it is nested too deeply, or makes too long a text';
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return 'it takes too long';
  // The library's, about what it does not find.
  if (isErrorOf(error, 'TypeError')) return 'it is incomplete, or does what is not supported';
  return String(message || 'it gives no reason').slice(0, 1000);
}
