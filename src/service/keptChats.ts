// Chats that wait for the next turn of their conversations, within a limit of memory.
//
// Each has a context of llama.cpp of its own. Sequences of one shared context would all have its size, which is taken in full
// from the start, and wait for each other's steps: so a context is as large as its conversation needs, and its memory is free
// once it goes.
import type { VideoChat } from '../llm/chat.js';

/** A turn that took place. */
export type Turn = { readonly question: string; readonly answer: string };

type Kept = {
  readonly chat: VideoChat;
  readonly subject: string;
  readonly turns: readonly Turn[];
  readonly bytes: number;
};

/** A chat, and how many of a conversation's turns are in it. */
export type TakenChat = { readonly chat: VideoChat; readonly turns: number };

export class KeptChats {
  readonly #mostBytes: number;
  /** The least recently used first. */
  readonly #kept = new Set<Kept>();
  #bytes = 0;
  #isClosed = false;

  /** @param mostBytes of all contexts that wait; 0 keeps none */
  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  /** Whether any is ever kept. */
  get keepsAny(): boolean {
    return this.#mostBytes > 0;
  }

  get count(): number {
    return this.#kept.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Takes the chat that has most of a conversation; it is the caller's then. One that has a turn more, or another last turn, is
   * taken as well, without that turn: so a question that is asked again, and other questions about a video, find it evaluated.
   * @param subject all that is evaluated before the first question, and whose chat it is
   * @param contextSize the least that the conversation needs
   */
  async take(subject: string, turns: readonly Turn[], contextSize: number): Promise<TakenChat | undefined> {
    let best: { readonly kept: Kept; readonly common: number } | undefined;
    for (const kept of this.#kept) {
      if (kept.subject !== subject || kept.chat.disposed || kept.chat.contextSize < contextSize) continue;
      const common = commonTurns(kept.turns, turns);
      const more = kept.turns.length - common;
      if (more > 1) continue;
      const isBetter =
        best === undefined ||
        common > best.common ||
        (common === best.common && more < best.kept.turns.length - best.common);
      if (isBetter) best = { kept, common };
    }
    if (best === undefined) return undefined;
    const { kept, common } = best;
    this.#forget(kept);
    const { chat } = kept;
    try {
      if (kept.turns.length === common || (await chat.takeBackLastTurn())) return { chat, turns: common };
    } catch {
      // Whatever it is that it cannot, a new one can.
    }
    await chat.dispose();
    return undefined;
  }

  /** Keeps a chat for its next turn, or disposes it where that cannot be. */
  async keep(subject: string, turns: readonly Turn[], chat: VideoChat): Promise<void> {
    const bytes = await this.#bytesOf(chat);
    if (bytes === undefined) return chat.dispose();
    this.#kept.add({ chat, subject, turns, bytes });
    this.#bytes += bytes;
    const gone: Kept[] = [];
    for (const kept of this.#kept) {
      if (this.#bytes <= this.#mostBytes) break;
      this.#forget(kept);
      gone.push(kept);
    }
    await Promise.all(gone.map((kept) => kept.chat.dispose()));
  }

  /** Disposes all that wait. */
  async clear(): Promise<void> {
    const all = [...this.#kept];
    for (const kept of all) this.#forget(kept);
    await Promise.all(all.map(({ chat }) => chat.dispose()));
  }

  /** Disposes all; none is kept from now on. */
  dispose(): Promise<void> {
    this.#isClosed = true;
    return this.clear();
  }

  /** The memory of a chat that can be kept. */
  async #bytesOf(chat: VideoChat): Promise<number | undefined> {
    if (!this.keepsAny || chat.disposed) return undefined;
    try {
      const bytes = await chat.contextBytes();
      return bytes <= this.#mostBytes && (await chat.tellLastTurn()) && !this.#isClosed ? bytes : undefined;
    } catch {
      return undefined;
    }
  }

  #forget(kept: Kept): void {
    if (this.#kept.delete(kept)) this.#bytes -= kept.bytes;
  }
}

/** How many turns two conversations have in common. */
function commonTurns(a: readonly Turn[], b: readonly Turn[]): number {
  const differs = a.findIndex(({ question, answer }, at) => question !== b[at]?.question || answer !== b[at].answer);
  return differs < 0 ? a.length : differs;
}
