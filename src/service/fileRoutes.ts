// POST, GET and DELETE /v1/files, and /v1/uploads for files in parts
import { open } from 'node:fs/promises';
import multipart from '@fastify/multipart';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import * as v from 'valibot';
import { integer, nonEmptyString, parse } from '../base/schema.js';
import { ApiError } from './apiError.js';
import type { FileStore } from './fileStore.js';
import { readForm } from './form.js';
import type { RequestSignals } from './requestSignals.js';
import type { UploadRoom } from './uploadRoom.js';
import type { UploadStore } from './uploadStore.js';

/** What the routes work with. */
export type FileParts = {
  readonly files: FileStore;
  readonly uploads: UploadStore;
  readonly room: UploadRoom;
  readonly signals: RequestSignals;
  /** The longest time until a part of a form begins. */
  readonly bodySeconds: number;
  readonly clientOf: (request: FastifyRequest) => string;
};

type ById = { Params: { id: string } };

/** What a form has beside its file. */
const formBytes = 200_000;
const usualPurpose = 'vision';

export const newUpload = v.object({
  filename: nonEmptyString,
  bytes: integer(1),
  purpose: v.nullish(v.string('text')),
  mime_type: v.nullish(v.string('text')),
});
export const uploadParts = v.object({
  part_ids: v.pipe(v.array(nonEmptyString), v.minLength(1), v.maxLength(10_000)),
  md5: v.nullish(v.string('text')),
});

export async function addFileRoutes(app: FastifyInstance, parts: FileParts): Promise<void> {
  await app.register(multipart, {
    // Files have limits of their own, as they are written.
    limits: { files: 1, fields: 10, fieldSize: 10_000, parts: 11, headerPairs: 50, fileSize: Number.POSITIVE_INFINITY },
  });
  const { files, room, signals, bodySeconds, clientOf } = parts;

  app.post('/v1/files', async (request, reply) => {
    files.checkCount();
    await room.check(Math.max(0, Number(request.headers['content-length'] ?? 0) - formBytes));
    const { taken, texts } = await readForm(request, reply, signals, bodySeconds, 'file', {
      take: ({ file, filename }, signal) => {
        const described = { filename: printed(filename), purpose: usualPurpose, client: clientOf(request) };
        return files.add(file, described, signal);
      },
      undo: ({ id }) => files.remove(id),
    });
    return files.setPurpose(taken.id, texts.get('purpose')?.slice(0, 64)) ?? taken;
  });

  app.get('/v1/files', async (request) => ({ object: 'list', data: files.list(clientOf(request)), has_more: false }));

  app.get<ById>('/v1/files/:id', async ({ params }) => {
    const found = files.describe(params.id);
    if (found === undefined) throw noFile();
    return found;
  });

  app.get<ById>('/v1/files/:id/content', async ({ params }, reply) => {
    const path = files.pathOf(params.id);
    const file = path === undefined ? undefined : await open(path).catch(() => undefined);
    if (file === undefined) throw noFile();
    const { size } = await file.stat();
    return reply.type('application/octet-stream').header('content-length', size).send(file.createReadStream());
  });

  app.delete<ById>('/v1/files/:id', async ({ params }) => {
    if (!(await files.remove(params.id))) throw noFile();
    return { id: params.id, object: 'file', deleted: true };
  });
  addUploadRoutes(app, parts);
}

function addUploadRoutes(app: FastifyInstance, { uploads, signals, bodySeconds, clientOf }: FileParts): void {
  app.post('/v1/uploads', async (request) => {
    const { filename, purpose, bytes } = parse(newUpload, request.body, 'body');
    const described = { filename: printed(filename), purpose: purpose?.slice(0, 64) ?? usualPurpose };
    return uploads.begin({ ...described, client: clientOf(request) }, bytes);
  });

  app.get<ById>('/v1/uploads/:id', async ({ params }) => uploads.describe(params.id));

  app.post<ById>('/v1/uploads/:id/parts', async (request, reply) => {
    const { id } = request.params;
    uploads.describe(id);
    const { taken } = await readForm(request, reply, signals, bodySeconds, 'data', {
      take: ({ file }, signal) => uploads.addPart(id, file, signal),
      // It stays until the upload ends, and is not named then.
      undo: async () => {},
    });
    return taken;
  });

  app.post<ById>('/v1/uploads/:id/complete', async ({ params, body }) => {
    const { part_ids, md5 } = parse(uploadParts, body, 'body');
    return uploads.complete(params.id, part_ids, md5 ?? undefined);
  });

  app.post<ById>('/v1/uploads/:id/cancel', async ({ params }) => uploads.cancel(params.id));
}

/** A file name without what does not print. */
function printed(name: string): string {
  return name.replace(/\p{C}/gu, '').slice(0, 255);
}

function noFile(): ApiError {
  return new ApiError(404, 'There is no such file. Upload it again.', { param: 'id' });
}
