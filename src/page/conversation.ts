// A conversation about one video: its turns, one asked at a time.
import { type Api, isAbort, type Message, type Sampling, sentenceOf } from './api.js';
import { announce, byId, element } from './dom.js';
import { footOf, TurnView, wordsOf } from './turnView.js';

type Turn = { readonly question: string; answer: string };

export type ConversationParts = {
  readonly api: Api;
  /** The video's address for the service, once it is there; tells how far it is until then. */
  readonly videoUrl: (onWait: (words: string, part?: number) => void) => Promise<string>;
  readonly samplingOf: () => Sampling;
  readonly secondsOf: () => number | undefined;
  readonly onSeek: (seconds: number) => void;
};

const suggestions = ['Describe the video.', 'What comes first?', 'How does the video end?'];

export class Conversation {
  readonly #parts: ConversationParts;
  readonly #turns: Turn[] = [];
  readonly #question = byId<HTMLTextAreaElement>('question');
  readonly #log = byId('log');
  #running: AbortController | undefined;

  constructor(parts: ConversationParts) {
    this.#parts = parts;
    const question = this.#question;
    byId('ask-form').addEventListener('submit', (event) => {
      event.preventDefault();
      void this.ask(question.value);
    });
    question.addEventListener('input', () => this.#fit());
    question.addEventListener('keydown', (event) => {
      // Enter that chooses a word of an input method is none.
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      void this.ask(question.value);
    });
    byId('stop').addEventListener('click', () => this.stop());
    byId('work').addEventListener('keydown', ({ key }) => key === 'Escape' && this.stop());
    byId('suggestions').replaceChildren(
      ...suggestions.map((text) =>
        element(
          'li',
          {},
          element('button', { type: 'button', class: 'chip', onclick: () => void this.ask(text) }, text),
        ),
      ),
    );
  }

  /** Ends the answer that is being written. */
  stop(): void {
    this.#running?.abort();
  }

  /** Begins anew, about another video. */
  clear(): void {
    this.stop();
    this.#running = undefined;
    this.#turns.length = 0;
    this.#show();
    byId('turns').replaceChildren();
    this.#question.value = '';
    this.#fit();
  }

  async ask(text: string): Promise<void> {
    const question = text.trim();
    if (question === '') return this.#question.focus();
    if (this.#running) return;
    const running = new AbortController();
    this.#running = running;
    const turn: Turn = { question, answer: '' };
    const view = new TurnView(question, {
      ...this.#parts,
      onAgain: () => {
        if (this.#running) return;
        view.view.remove();
        void this.ask(question);
      },
    });
    byId('turns').append(view.view);
    this.#question.value = '';
    this.#fit();
    this.#show();
    this.#toEnd();
    announce('Asked.');
    try {
      const foot = await this.#answer(turn, view, running.signal);
      view.end(turn.answer, foot);
    } catch (error) {
      const stopped = isAbort(error) || running.signal.aborted;
      if (stopped) view.end(turn.answer, 'Stopped');
      else view.fail(turn.answer, sentenceOf(error));
      if (stopped) announce('Stopped.');
      else turn.answer = '';
    }
    // Another video may have been opened meanwhile.
    if (this.#running !== running) return;
    this.#running = undefined;
    // What was stopped early, or failed, was never said.
    if (turn.answer !== '') this.#turns.push(turn);
    this.#show();
    this.#toEnd();
  }

  async #answer(turn: Turn, view: TurnView, signal: AbortSignal): Promise<string> {
    const { api, videoUrl, samplingOf } = this.#parts;
    const url = await abortable(
      videoUrl((words, part) => view.doing(words, part)),
      signal,
    );
    let foot: Parameters<typeof footOf> = [undefined, undefined];
    let said = 0;
    for await (const chunk of api.answer(this.#messages(url, turn.question), samplingOf(), signal)) {
      const { choices, usage, longvlm } = chunk;
      if (longvlm?.progress) view.doing(...wordsOf(longvlm.progress));
      else foot = [usage ?? foot[0], longvlm ?? foot[1]];
      const text = choices[0]?.delta.content ?? '';
      if (text === '') continue;
      const atEnd = this.#isAtEnd();
      turn.answer += text;
      view.write(text);
      if (atEnd) this.#toEnd();
      // Sentence by sentence: words one by one cannot be listened to.
      const whole = turn.answer.slice(said).match(/^[\s\S]*[.!?\n](?=\s)/)?.[0];
      if (whole === undefined) continue;
      announce(whole);
      said += whole.length;
    }
    announce(turn.answer.slice(said));
    return footOf(...foot);
  }

  #messages(url: string, question: string): Message[] {
    const texts = this.#turns.flatMap<Message>(({ question, answer }) => [
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
    ]);
    const [first, ...rest] = [...texts, { role: 'user', content: question } as const];
    const video = { type: 'video_url', video_url: { url } };
    return [{ role: 'user', content: [video, { type: 'text', text: first!.content }] }, ...rest];
  }

  #show(): void {
    const runs = this.#running !== undefined;
    const stop = byId('stop');
    const hadFocus = document.activeElement === (runs ? byId('ask') : stop);
    byId('ask').hidden = runs;
    stop.hidden = !runs;
    byId('talk-empty').hidden = byId('turns').childElementCount > 0;
    if (hadFocus) (runs ? stop : this.#question).focus();
  }

  /** As high as its text, up to what the style sheet allows. */
  #fit(): void {
    const field = this.#question;
    field.style.height = 'auto';
    field.style.height = `${field.scrollHeight + 2}px`;
  }

  #isAtEnd(): boolean {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    return scrollHeight - scrollTop - clientHeight < 48;
  }

  #toEnd(): void {
    this.#log.scrollTop = this.#log.scrollHeight;
  }
}

/** A promise that is waited for until a signal. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
