// What a chat template makes of any conversation about a video: fixed texts, and slots between them. It is found out once, by
// rendering conversations whose texts are marks, so that nothing that users write is ever part of a template's work.
import type { GgufFile } from '../../files/gguf.js';
import { renderConversations } from './render.js';
import type { Message, Rendered } from './renderer.js';

/** A place in a prompt for a text that is not the template's. */
export type Slot = {
  readonly slot: 'system' | 'question' | 'answer';
  /** Whether the template removes white space at that end of the text. */
  readonly trimStart: boolean;
  readonly trimEnd: boolean;
};

/** A piece of a prompt: text of the template, or a slot. */
export type TemplatePart = string | Slot;

/** How conversations are laid out, those with a system text or those without. */
export type ChatTemplateForm = {
  /** From the start to the video. */
  readonly before: readonly TemplatePart[];
  /** From the video to the first answer. */
  readonly question: readonly TemplatePart[];
  /** What follows an answer, up to the next one; or why there can be no second question. */
  readonly next: readonly TemplatePart[] | { readonly problem: string };
  /** How turns are shown once another question follows, from the video or from the end of the answer before. */
  readonly past?: {
    readonly first: readonly TemplatePart[];
    readonly later: readonly TemplatePart[];
    /** Whether that is not how they were asked. */
    readonly differs: boolean;
    /** Whether the thoughts of an answer are left out, and the white space behind them. */
    readonly dropsThoughts: boolean;
    readonly trimsAfterThoughts: boolean;
  };
};

/** A chat template, ready for use; or why it cannot be used, for conversations without and with a system text. */
export type ChatTemplate = {
  readonly plain: ChatTemplateForm | { readonly problem: string };
  readonly withSystem: ChatTemplateForm | { readonly problem: string };
};

/** The end of a model's thoughts in its answer. */
export const endOfThoughts = '</think>';

// The longest of known models has some 20,000 characters.
const maxTemplateLength = 1 << 17;

// Private-use characters do not occur in a template.
const mark = (index: number) => `\uE000${String.fromCharCode(0xe010 + index)}\uE000`;
const markPattern = /(\uE000[\uE010-\uE01F]\uE000)/;
const system = mark(0);
const video = mark(1);
const questions = [mark(2), mark(3), mark(4)] as const;
const answers = [mark(5), mark(6)] as const;
const thought = mark(7);
// White space that a template keeps or removes as a whole.
const space = ' \n ';

type Texts = { role: Message['role']; text: string }[];

const turn = (role: Message['role'], text: string) => ({ role, text });
const systemTurn = (text: string) => turn('system', text);

function firstTurn(pad = ''): Texts {
  return [turn('user', `${video}\n${questions[0]}${pad}`)];
}

function threeTurns(pad = '', firstAnswer: string = answers[0]): Texts {
  return [
    ...firstTurn(pad),
    turn('assistant', `${pad}${firstAnswer}${pad}`),
    turn('user', `${pad}${questions[1]}${pad}`),
    turn('assistant', `${pad}${answers[1]}${pad}`),
    turn('user', `${pad}${questions[2]}${pad}`),
  ];
}

const thoughtful = `<think>\n${thought}\n${endOfThoughts}\n\n${answers[0]}`;

/** The conversations that are rendered, each with and without a system text. */
const probes: readonly Texts[] = [
  firstTurn(),
  firstTurn(space),
  threeTurns(),
  threeTurns(space),
  threeTurns('', thoughtful),
];

// How templates expect messages: texts, or lists of typed parts, those of llava-hf; or lists for the user's alone.
const typed = (text: string): Message['content'] => [{ type: 'text', text }];
const forms: readonly ((message: Texts[number]) => Message)[] = [
  ({ role, text }) => ({ role, content: text }),
  ({ role, text }) => ({ role, content: typed(text) }),
  ({ role, text }) => ({ role, content: role === 'user' ? typed(text) : text }),
];

// Names of special tokens in templates, llama.cpp's names for them, and their ids in SentencePiece vocabularies without them.
const specialTokens = [
  ['bos_token', 'bos', 1],
  ['eos_token', 'eos', 2],
  ['unk_token', 'unknown', 0],
  ['sep_token', 'seperator', undefined],
  ['pad_token', 'padding', undefined],
  ['cls_token', 'cls', undefined],
  ['mask_token', 'mask', undefined],
] as const;

/** The chat template of a language model; undefined if it has none. @throws as {@link compileChatTemplate} */
export async function compileTemplateOf(
  { metadata }: GgufFile,
  signal?: AbortSignal,
): Promise<ChatTemplate | undefined> {
  const template = metadata.get('tokenizer.chat_template');
  if (typeof template !== 'string' || template.trim() === '') return undefined;
  const tokens = metadata.get('tokenizer.ggml.tokens') as readonly string[];
  const isSentencePiece = metadata.get('tokenizer.ggml.model') === 'llama';
  const variables: Record<string, unknown> = { tools: null, documents: null };
  for (const [name, key, usual] of specialTokens) {
    const id = metadata.get(`tokenizer.ggml.${key}_token_id`) ?? (isSentencePiece ? usual : undefined);
    const text = typeof id === 'number' ? tokens[id] : undefined;
    if (text !== undefined) variables[name] = text;
  }
  return compileChatTemplate(template, variables, signal);
}

/**
 * Finds out what a template does.
 * @param variables variables of the template besides the messages
 * @throws LongVLMError `ERR_LONGVLM_LLM` if no process can be started; `signal.reason`
 */
export async function compileChatTemplate(
  template: string,
  variables: Readonly<Record<string, unknown>>,
  signal?: AbortSignal,
): Promise<ChatTemplate> {
  if (template.length > maxTemplateLength) {
    const problem = `it has ${template.length} characters, more than ${maxTemplateLength}`;
    return { plain: { problem }, withSystem: { problem } };
  }
  const cases = [
    probes,
    probes.map((texts, index) => [systemTurn(index % 2 ? space + system + space : system), ...texts]),
  ];
  const conversations = cases.flat().flatMap((texts) => forms.map((form) => texts.map(form)));
  const rendered = await renderConversations({ template, variables, conversations }, signal);
  // All of a case's conversations are laid out in the first form in which its first one comes out whole.
  const [plain, withSystem] = cases.map((texts, index) => {
    const outputs = texts.map((_, probe) =>
      forms.map((_, form) => rendered[(index * probes.length + probe) * forms.length + form]!),
    );
    const attempts = forms.map((_, form) =>
      readForm(
        outputs.map((output) => output[form]!),
        index === 1,
      ),
    );
    return attempts.find((attempt) => !('problem' in attempt)) ?? attempts[0]!;
  });
  return { plain: plain!, withSystem: withSystem! };
}

function readForm(
  [first, firstSpaced, three, threeSpaced, thoughts]: readonly Rendered[],
  hasSystem: boolean,
): ChatTemplateForm | { problem: string } {
  if (!first || 'problem' in first) return { problem: first?.problem ?? 'it makes nothing' };
  const problem = problemOf(first.text, [video, questions[0]]);
  if (problem !== undefined) return { problem };
  if (hasSystem && !first.text.includes(system))
    return { problem: 'it leaves the system text out. Leave it out, too, or put it into the question' };
  const slots = slotsOf([firstSpaced, threeSpaced]);
  const [before, question] = cut(first.text, [video]).map(slots) as [TemplatePart[], TemplatePart[]];
  return { before, question, ...readTurns(before, question, three, thoughts, slots) };
}

type Slots = (text: string) => TemplatePart[];

/** What follows the first answer. */
function readTurns(
  before: TemplatePart[],
  question: TemplatePart[],
  three: Rendered | undefined,
  thoughts: Rendered | undefined,
  slots: Slots,
): Pick<ChatTemplateForm, 'next' | 'past'> {
  if (!three || 'problem' in three) return { next: { problem: three?.problem ?? 'it makes nothing' } };
  const order = [video, questions[0], answers[0], questions[1], answers[1], questions[2]];
  const problem = problemOf(three.text, order);
  if (problem !== undefined) return { next: { problem } };
  const [start, first, later, last] = cut(three.text, [video, answers[0], answers[1]]) as [
    string,
    string,
    string,
    string,
  ];
  if (!same(slots(start), before))
    return { next: { problem: 'it changes what is before the video once another question follows' } };
  const opening = (text: string, question: string) => text.slice(0, text.indexOf(question));
  if (opening(later, questions[1]) !== opening(last, questions[2]))
    return { next: { problem: 'it lays out each turn in another way' } };
  const whole = thoughts && !('problem' in thoughts) ? thoughts.text : undefined;
  const dropsThoughts = whole !== undefined && !whole.includes(thought) && whole.includes(answers[0]);
  return {
    next: slots(last),
    past: {
      first: slots(first),
      later: slots(later),
      differs: !continues(slots(first), question),
      dropsThoughts,
      trimsAfterThoughts:
        dropsThoughts && !whole.slice(0, whole.indexOf(answers[0])).endsWith(`${first.slice(-1)}\n\n`),
    },
  };
}

/** Why a text is not the conversation with those marks, each once and in that order. */
function problemOf(text: string, marks: readonly string[]): string | undefined {
  let last = -1;
  for (const each of marks) {
    const at = text.indexOf(each);
    if (at < 0) return 'some input is missing in its output';
    if (at < last) return 'it changes the order of the conversation';
    if (text.includes(each, at + 1)) return 'it shows a text twice';
    last = at;
  }
  return undefined;
}

/** The texts between marks, which occur in that order. */
function cut(text: string, marks: readonly string[]): string[] {
  const parts: string[] = [];
  let from = 0;
  for (const each of marks) {
    const at = text.indexOf(each, from);
    parts.push(text.slice(from, at));
    from = at + each.length;
  }
  return [...parts, text.slice(from)];
}

/** Makes slots of the marks in a text. Where a template removes white space is seen in conversations that are full of it. */
function slotsOf(spaced: readonly (Rendered | undefined)[]): Slots {
  const texts = spaced.flatMap((each) => (each && 'text' in each ? [each.text] : []));
  const trims = (each: string, isKept: (text: string, at: number) => boolean) => {
    const holding = texts.filter((text) => text.includes(each));
    return holding.length > 0 && holding.every((text) => !isKept(text, text.indexOf(each)));
  };
  const slot = (each: string): Slot => ({
    slot: each === system ? 'system' : (questions as readonly string[]).includes(each) ? 'question' : 'answer',
    // The first question stands behind the video, where it is not at the start of a text.
    trimStart: each !== questions[0] && trims(each, (text, at) => text.slice(0, at).endsWith(space)),
    trimEnd: trims(each, (text, at) => text.startsWith(space, at + each.length)),
  });
  return (text) =>
    text.split(markPattern).flatMap((part, index) => (part === '' ? [] : [index % 2 ? slot(part) : part]));
}

const same = (a: readonly TemplatePart[], b: readonly TemplatePart[]) => JSON.stringify(a) === JSON.stringify(b);

/** Whether `past` is `asked`, but for white space behind it, with which models begin their answer. */
function continues(past: readonly TemplatePart[], asked: readonly TemplatePart[]): boolean {
  const [end, askedEnd] = [past.at(-1), asked.at(-1)];
  if (typeof end !== 'string' || typeof askedEnd !== 'string') return same(past, asked);
  const isEnd = end.startsWith(askedEnd) && end.slice(askedEnd.length).trim() === '';
  return isEnd && same(past.slice(0, -1), asked.slice(0, -1));
}
