/**
 * Calls `work` with each of `items`, in order, several at once. After an error nothing more is started.
 * @param work its second argument, from 0 to `atOnce` - 1, is that of no other call at the same time: for memory of its own
 * @throws the first error, when all that was started has ended
 */
export async function severalAtOnce<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T, place: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const failures: unknown[] = [];
  const takeTurns = async (place: number) => {
    while (next < items.length && failures.length === 0)
      await work(items[next++]!, place).catch((error: unknown) => failures.push(error));
  };
  await Promise.all(Array.from({ length: atOnce }, (_, place) => takeTurns(place)));
  if (failures.length > 0) throw failures[0];
}
