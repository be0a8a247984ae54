// GET / and the files of the page, which people ask from.
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { isErrorOf } from '../base/errors.js';
import { ApiError } from './apiError.js';

/** The routes of the page, which hold no content, and need no key. */
export const pageRoutes: readonly string[] = ['/', '/page/*', '/inspect/*'];

type PageFile = { readonly type: string; readonly content: Buffer; readonly etag: string };

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** Nothing from elsewhere, and nothing that is written into the page itself, can run or be sent anywhere. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data: blob:",
  'media-src blob:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const headers = {
  'content-security-policy': policy,
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), microphone=(), geolocation=()',
  // Asked each time, answered with 304 while it is the same: a new release has new files under the same names.
  'cache-control': 'no-cache',
};

/** Serves the files that there are now, and no other. */
export async function addPageRoutes(app: FastifyInstance): Promise<void> {
  const files = await readFiles();
  const send = (request: FastifyRequest, reply: FastifyReply, name: string) => {
    const file = files.get(name);
    if (file === undefined) throw missing(name);
    reply.headers({ ...headers, etag: file.etag });
    const known = request.headers['if-none-match'];
    if (known?.split(',').some((tag) => tag.trim().replace(/^W\//, '') === file.etag)) return reply.code(304).send();
    return reply.type(file.type).send(file.content);
  };
  for (const route of pageRoutes)
    app.get(route, (request, reply) => send(request, reply, route === '/' ? '/page/index.html' : pathOf(request)));
}

function pathOf({ url }: FastifyRequest): string {
  return url.replace(/[?#].*$/s, '');
}

function missing(name: string): ApiError {
  return new ApiError(
    404,
    name === '/page/index.html'
      ? 'The page was not built. Build it with npm run build.'
      : 'The page has no such file. Load it again.',
  );
}

/** The page, and what it shares with the rest of the package, by their paths in URLs. */
async function readFiles(): Promise<ReadonlyMap<string, PageFile>> {
  const files = new Map<string, PageFile>();
  for (const folder of ['page', 'inspect', 'inspect/draw']) {
    const root = new URL(`../${folder}/`, import.meta.url);
    for (const name of await namesIn(root)) {
      const type = types[extname(name)];
      if (type === undefined || (folder === 'inspect' && name !== 'inspection.js')) continue;
      const content = await readFile(new URL(name, root));
      const etag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`;
      files.set(`/${folder}/${name}`, { type, content, etag });
    }
  }
  return files;
}

/** None where the folder was not built. */
async function namesIn(folder: URL): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isErrorOf(error, 'Error') && (error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
