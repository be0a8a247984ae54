// npm run bench -- --html
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { page } from './page.js';
import { ResultsError, readResults } from './timings.js';

/** The page of the results in files and folders. @throws ResultsError where there are none */
export function pageOf(paths: readonly string[]): string {
  const missing = paths.find((path) => !existsSync(path));
  if (missing !== undefined) throw new ResultsError(`${missing} is missing. Name files or folders of results.`);
  const files = paths.flatMap((path) =>
    statSync(path).isDirectory()
      ? readdirSync(path)
          .filter((name) => /\.jsonl?$/.test(name))
          .sort()
          .map((name) => join(path, name))
      : [path],
  );
  if (files.length === 0)
    throw new ResultsError(`There are no results in ${paths.join(', ')}. Make some: npm run bench -- --save FILE`);
  return page(files.map((file) => readResults(file, readFileSync(file, 'utf8'))));
}
