/** Runs the end of a command with a signal that aborts at another Ctrl-C or SIGTERM. */
export async function secondSignal(end: (again: AbortSignal) => Promise<void>): Promise<void> {
  const again = new AbortController();
  const stop = () => again.abort();
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  try {
    await end(again.signal);
  } finally {
    process.off('SIGINT', stop);
    process.off('SIGTERM', stop);
  }
}
