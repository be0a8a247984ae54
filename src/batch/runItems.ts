import { linkedController } from '../base/abort.js';
import { type BatchItem, type BatchResult, type ItemRunner, isRequest } from './item.js';

/** Options of {@link runItems}. */
export type RunItemsOptions = {
  /** How many items are in work at a time. */
  readonly parallel: number;
  /** How many items of one video are. */
  readonly perVideo: number;
  readonly signal?: AbortSignal | undefined;
};

/** An item with what came of it. */
export type Finished<Item> = { readonly item: Item; readonly result: BatchResult };

/**
 * Runs items, those of one video one after the other, and gives the results as they come. No item is begun while the caller keeps a
 * result for longer than the items in work take. Leaving the loop ends what is in work.
 * @param of the item as it is run
 * @throws what `run` throws, when all that was begun has ended
 */
export async function* runItems<Item>(
  items: readonly Item[],
  of: (item: Item) => BatchItem,
  run: ItemRunner,
  { parallel, perVideo, signal: outer }: RunItemsOptions,
): AsyncGenerator<Finished<Item>, void, void> {
  const { controller, unlink } = linkedController(outer);
  const { signal } = controller;
  const waiting = strandsOf(items, of, perVideo);
  /** Strands in work, with what comes of their present items. */
  const working = new Map<Iterator<Item>, Promise<Finished<Item> & { readonly strand: Iterator<Item> }>>();
  const goOn = (strand: Iterator<Item>): boolean => {
    const { value: item, done } = strand.next();
    if (done) return false;
    const finished = run(of(item), { signal }).then((result) => ({ strand, item, result }));
    // Those that fail together with another, or while the caller has a result, are looked at later.
    finished.catch(() => {});
    working.set(strand, finished);
    return true;
  };
  const fill = () => {
    for (let strand = waiting.next(); !strand.done; strand = waiting.next())
      if (goOn(strand.value) && working.size >= parallel) return;
  };
  try {
    signal.throwIfAborted();
    fill();
    while (working.size > 0) {
      const { strand, item, result } = await Promise.race(working.values());
      working.delete(strand);
      if (!goOn(strand)) fill();
      yield { item, result };
      signal.throwIfAborted();
    }
  } finally {
    controller.abort(new Error('The batch has ended.'));
    await Promise.allSettled(working.values());
    unlink();
  }
}

/** Items that follow each other: those of one video share as many strands as are allowed. Videos come in the order of their first items. */
function* strandsOf<Item>(
  items: readonly Item[],
  of: (item: Item) => BatchItem,
  perVideo: number,
): Generator<Iterator<Item>, void, void> {
  const videos = new Map<string, Item[]>();
  for (const item of items) {
    const video = videoOf(of(item));
    const known = videos.get(video);
    if (known) known.push(item);
    else videos.set(video, [item]);
  }
  for (const ofVideo of videos.values()) {
    const shared = ofVideo.values();
    for (let strand = 0; strand < Math.min(perVideo, ofVideo.length); strand++) yield { next: () => shared.next() };
  }
}

/** What tells the videos of items apart. */
function videoOf(item: BatchItem): string {
  if (!isRequest(item)) return item.video;
  const { messages } = item.body;
  if (!Array.isArray(messages)) return item.id;
  const parts = messages.flatMap((message: { content?: unknown } | null) => message?.content ?? []);
  const media = parts.filter((part: { type?: unknown } | null) => typeof part === 'object' && part?.type !== 'text');
  return media.length === 0 ? item.id : JSON.stringify(media);
}
