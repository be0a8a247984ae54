// Messages as chat clients keep them, read as a conversation about one video: turn by turn.

/** A message, its texts joined. */
export type GivenMessage<Media> = {
  readonly role: 'system' | 'user' | 'assistant';
  readonly text: string;
  readonly media: readonly Media[];
};

/** A conversation, whose last question is to be answered. */
export type GivenConversation<Media> = {
  /** Undefined without a system message: the template's own text. */
  readonly system: string | undefined;
  readonly media: readonly Media[];
  /** Turns that took place. */
  readonly turns: readonly { readonly question: string; readonly answer: string }[];
  readonly question: string;
};

/** Messages that are no conversation about a video. */
export class WrongMessages extends Error {
  /** Which message; undefined if it is all of them. */
  readonly index: number | undefined;

  /** @param remedy a sentence */
  constructor(remedy: string, index?: number) {
    super(remedy);
    this.index = index;
  }
}

/**
 * @param isPicture whether media are a picture, of which there may be several
 * @param missing what to do where there are no media: a sentence
 * @throws WrongMessages
 */
export function readMessages<Media>(
  messages: readonly GivenMessage<Media>[],
  { isPicture, missing }: { isPicture: (media: Media) => boolean; missing: string },
): GivenConversation<Media> {
  const systems: string[] = [];
  const media: Media[] = [];
  const turns: { question: string; answer: string }[] = [];
  let question: string | undefined;
  for (const [index, { role, text, media: named }] of messages.entries()) {
    if (role === 'system') {
      if (question !== undefined || turns.length > 0)
        throw new WrongMessages('Put system messages before all others.', index);
      systems.push(text);
    } else if (role === 'assistant') {
      if (question === undefined)
        throw new WrongMessages('Put a message of the user before each of the assistant.', index);
      turns.push({ question, answer: text });
      question = undefined;
    } else {
      if (named.length > 0 && turns.length > 0)
        throw new WrongMessages(
          'Put the video into the first message of the user: the model sees it before all questions.',
          index,
        );
      for (const each of named) media.push(each);
      // Messages in a row are one turn.
      question = [...(question === undefined ? [] : [question]), text].filter(Boolean).join('\n');
    }
  }
  if (question === undefined) throw new WrongMessages('Put a message of the user last.');
  if ([...turns.map((turn) => turn.question), question].includes(''))
    throw new WrongMessages('Put a text, the question, into each message of the user.');
  if (media.length === 0) throw new WrongMessages(missing);
  if (media.length > 1 && !media.every(isPicture))
    throw new WrongMessages('Give one video, or pictures alone: the model takes one video in a conversation.');
  return { system: systems.length === 0 ? undefined : systems.join('\n'), media, turns, question };
}

/** All texts of a conversation but the system's. */
export function textsOf({ turns, question }: GivenConversation<unknown>): string {
  return [...turns.flatMap((turn) => [turn.question, turn.answer]), question].join('\n');
}
