import { defineConfig } from 'vitest/config';

// Tests run what ships: they import the compiled `dist`, loaded by Node itself, so that worker threads and the
// addon are found exactly as a user's process finds them.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/fixtures/ownCache.ts',
    pool: 'forks',
    // The kernels, ONNX Runtime and llama.cpp use every core: files side by side would only slow each other.
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    server: { deps: { external: [/\/dist\//] } },
  },
});
