import { defineConfig } from 'vitest/config';

// Tests run what ships: they import the compiled `dist`, loaded by Node itself, so that worker threads and the
// addon are found exactly as a user's process finds them.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/fixtures/ownCache.ts',
    pool: 'forks',
    // Two, as half of the time goes to waiting for processes and servers; more would only slow each other, as the kernels, ONNX
    // Runtime and llama.cpp use every core.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    server: { deps: { external: [/\/dist\//] } },
  },
});
