// Memory that is given back to the system: by the C library of GNU, which keeps it otherwise.
import { describe, expect, test } from 'vitest';
import { runNode } from '../kernels/childProcess.js';

async function measured(script: string): Promise<Record<string, number>> {
  const { code, stdout, stderr } = await runNode(['--expose-gc', `test/stress/${script}`]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };

describe.runIf(header.glibcVersionRuntime !== undefined)('what is not needed any more is given back', () => {
  // 0.1 to 0.6 MB of ten chats; 5 to 9 MB where chats give nothing back.
  test('of chats, once they are disposed', async () => {
    const { leastKept } = await measured('chatMemory.mjs');
    expect(leastKept).toBeLessThan(2e6);
  }, 120_000);

  // With V8's own some 20 MB more; that alone where nothing is trimmed, and less than nothing where no garbage is collected.
  test('before the weights of a lazy language model are read', async () => {
    const { dropped, shrunk } = await measured('lazyMemory.mjs');
    expect(shrunk).toBeGreaterThan(dropped!);
  }, 120_000);
});
