// Rows with bundlers: longvlm stays outside, the kernels may go in, where the platform's package lies beside the bundle.
import { forBundle, merged, mergeModule, questionFunction, questionModule } from './question.mjs';
import { installed, row } from './rows.mjs';

const webpack = `import webpack from 'webpack';

const config = {
  mode: 'production',
  target: 'node20',
  entry: './ask.mjs',
  experiments: { outputModule: true },
  output: { path: process.cwd() + '/webpack', filename: 'app.mjs', module: true, library: { type: 'module' } },
  externals: { longvlm: 'module longvlm' },
};
webpack(config, (error, stats) => {
  if (error ?? stats.hasErrors()) throw error ?? new Error(stats.toString());
});
`;

const nextRoute = `import { ask } from '../../asking.mjs';

export const dynamic = 'force-dynamic';

export async function GET() {
  return new Response(await ask());
}
`;

const nextServe = `import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';

const server = spawn(process.execPath, ['node_modules/next/dist/bin/next', 'start', '-p', '3123', '-H', '127.0.0.1'], { stdio: ['ignore', 2, 2] });
for (let tries = 0; tries < 100; tries++) {
  const answer = await fetch('http://127.0.0.1:3123/api').catch(() => undefined);
  if (answer) {
    console.log(await answer.text());
    break;
  }
  await sleep(200);
}
server.kill();
`;

const layout = `export default function Layout({ children }) {
  return <html><body>{children}</body></html>;
}
`;

/** Bundles, then runs the bundle. */
async function bundled(made, name, bundle, run, expected) {
  const built = await made.node(bundle);
  if (built.code !== 0) return row(name, built);
  return row(name, await made.node(run), expected);
}

async function* esbuildRows(made) {
  const esbuild = (...args) => ['node_modules/esbuild/bin/esbuild', '--bundle', '--platform=node', ...args];
  yield await bundled(
    made,
    'esbuild, longvlm external',
    esbuild('ask.mjs', '--format=esm', '--external:longvlm', '--outfile=esbuild/ask.mjs'),
    ['esbuild/ask.mjs'],
  );
  made.write('merge.mjs', mergeModule('longvlm/kernels'));
  made.write(
    'merge.cjs.mjs',
    mergeModule('longvlm/kernels').replaceAll(/^const \{ sizes[\s\S]*$/gm, (text) => `(async () => {\n${text}})();\n`),
  );
  for (const [format, entry] of [
    ['esm', 'merge.mjs'],
    ['cjs', 'merge.cjs.mjs'],
  ])
    yield await bundled(
      made,
      `esbuild, kernels inside, ${format}`,
      esbuild(entry, `--format=${format}`, `--outfile=esbuild/merge.${format === 'esm' ? 'mjs' : 'cjs'}`),
      [`esbuild/merge.${format === 'esm' ? 'mjs' : 'cjs'}`],
      merged,
    );
}

export async function* bundlerRows(user) {
  // Where its script runs, esbuild replaces its program, a script of Node's, by another.
  const made = await installed(
    user,
    'bundlers',
    ['longvlm', 'esbuild@0.28', 'webpack@5', 'vite@7'],
    ['--ignore-scripts'],
  );
  made.write('ask.mjs', forBundle(questionModule));
  yield* esbuildRows(made);
  made.write('webpack.mjs', webpack);
  yield await bundled(made, 'webpack, longvlm external', ['webpack.mjs'], ['webpack/app.mjs']);
  const vite = [
    'node_modules/vite/bin/vite.js',
    'build',
    '--ssr',
    'ask.mjs',
    '--outDir',
    'vite',
    '--logLevel',
    'error',
  ];
  yield await bundled(made, 'Vite SSR', vite, ['vite/ask.mjs']);

  const next = await installed(user, 'next', ['longvlm', 'next@16', 'react@19', 'react-dom@19']);
  next.write('asking.mjs', forBundle(questionFunction));
  next.write('next.config.mjs', `export default { serverExternalPackages: ['longvlm'] };\n`);
  next.write('app/layout.js', layout);
  next.write('app/api/route.js', nextRoute);
  next.write('serve.mjs', nextServe);
  yield await bundled(next, 'Next.js, a route', ['node_modules/next/dist/bin/next', 'build'], ['serve.mjs']);
}
