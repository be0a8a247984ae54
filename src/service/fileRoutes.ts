// POST, GET and DELETE /v1/files
import multipart from '@fastify/multipart';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { ApiError } from './apiError.js';
import type { FileObject, FileStore } from './fileStore.js';
import type { RequestSignals } from './requestSignals.js';

/** What the routes work with. */
export type FileParts = {
  readonly files: FileStore;
  readonly signals: RequestSignals;
  readonly clientOf: (request: FastifyRequest) => string;
};

type ById = { Params: { id: string } };

export async function addFileRoutes(app: FastifyInstance, { files, signals, clientOf }: FileParts): Promise<void> {
  await app.register(multipart, {
    // Files have limits of their own, as they are written.
    limits: { files: 1, fields: 10, fieldSize: 10_000, parts: 11, headerPairs: 50, fileSize: Number.POSITIVE_INFINITY },
  });

  app.post('/v1/files', async (request, reply) => {
    if (!request.isMultipart()) throw new ApiError(415, 'Send the file as multipart/form-data, in the field file.');
    files.checkRoom(Number(request.headers['content-length'] ?? 0));
    const { signal, end } = signals.of(reply);
    let purpose = 'vision';
    let added: FileObject | undefined;
    try {
      for await (const part of request.parts()) {
        if (part.type === 'field') {
          if (part.fieldname === 'purpose' && typeof part.value === 'string') purpose = part.value.slice(0, 64);
        } else if (part.fieldname === 'file' && added === undefined) {
          const filename = part.filename.replace(/\p{C}/gu, '').slice(0, 255);
          added = await files.add(part.file, { filename, purpose, client: clientOf(request), signal });
        } else part.file.resume();
      }
      if (added === undefined) throw new ApiError(400, 'Send the file in the field file.', { param: 'file' });
      return { ...added, purpose };
    } catch (error) {
      if (added !== undefined) await files.remove(added.id);
      // What it still sends is not read.
      reply.header('connection', 'close');
      throw error;
    } finally {
      end();
    }
  });

  app.get('/v1/files', async (request) => ({ object: 'list', data: files.list(clientOf(request)), has_more: false }));

  app.get<ById>('/v1/files/:id', async ({ params }) => {
    const found = files.describe(params.id);
    if (found === undefined) throw noFile();
    return found;
  });

  app.delete<ById>('/v1/files/:id', async ({ params }) => {
    if (!(await files.remove(params.id))) throw noFile();
    return { id: params.id, object: 'file', deleted: true };
  });
}

function noFile(): ApiError {
  return new ApiError(404, 'There is no such file. Upload it again.', { param: 'id' });
}
