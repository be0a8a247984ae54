// The service's OpenAPI document, made of the routes that there are and the schemas that check requests.
import { toJsonSchema } from '@valibot/to-json-schema';
import type { FastifyInstance } from 'fastify';
import type { GenericSchema } from 'valibot';
import { version } from '../base/version.js';
import { chatRequest } from './chatRequest.js';
import { newUpload, uploadParts } from './fileRoutes.js';
import { inspectRequest } from './inspectRequest.js';

type Schema = Readonly<Record<string, unknown>>;

type Described = {
  readonly summary: string;
  /** Content type and schema of the request's body. */
  readonly body?: readonly [type: string, schema: Schema];
  /** Content types and schemas of the response. */
  readonly answers: Readonly<Record<string, Schema>>;
};

const text: Schema = { type: 'string' };
const integer: Schema = { type: 'integer' };
const named = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });
const json = (schema: Schema) => ({ 'application/json': schema });
const list = (name: string): Schema =>
  object({ object: { const: 'list' }, data: { type: 'array', items: named(name) } });

function object(properties: Readonly<Record<string, Schema>>, required = Object.keys(properties)): Schema {
  return { type: 'object', properties, required };
}

const usage = object({
  ...{ prompt_tokens: integer, completion_tokens: integer, total_tokens: integer },
  prompt_tokens_details: object({ cached_tokens: integer, video_tokens: integer }),
});
const used: Schema = {
  ...object({ video: { type: 'object' }, sampling: { type: 'object' }, timings: { type: 'object' } }),
  description: 'What was really used: the video, its sampling, and times in milliseconds.',
};
/** The schema of what a check takes. */
function checkedBy(schema: GenericSchema): Schema {
  return toJsonSchema(schema, { errorMode: 'ignore', typeMode: 'input' }) as Schema;
}

const finishReason: Schema = { enum: ['stop', 'length', null] };

const things: Schema = { type: 'object' };
const many: Schema = { type: 'array', items: things };
const inspection: Schema = {
  ...object(
    {
      ...{ object: { const: 'inspection' }, version: { const: 1 }, video: things, models: things, method: things },
      ...{ grid: things, global: things, segments: many, tokens: things, prompt: many },
      notes: { type: 'array', items: text },
    },
    ['object', 'version', 'video', 'models', 'method', 'global', 'segments', 'tokens', 'notes'],
  ),
  description: 'What the language model sees: Inspection of the library, which its docstrings describe.',
};
const tokenPlan: Schema = object(
  {
    ...{ object: { const: 'inspection.plan' }, frames: integer, segments: integer, patches: integer, global: integer },
    ...{ context: integer, asked: things, methods: many },
  },
  ['object', 'global', 'asked', 'methods'],
);

const schemas: Readonly<Record<string, Schema>> = {
  ChatCompletionRequest: checkedBy(chatRequest),
  ChatCompletion: object({
    ...{ id: text, object: { const: 'chat.completion' }, created: integer, model: text, usage, longvlm: used },
    choices: {
      type: 'array',
      items: object({ index: integer, message: object({ role: text, content: text }), finish_reason: finishReason }),
    },
  }),
  ChatCompletionChunk: object(
    {
      ...{ id: text, object: { const: 'chat.completion.chunk' }, created: integer, model: text, usage, longvlm: used },
      choices: {
        type: 'array',
        items: object({ index: integer, delta: { type: 'object' }, finish_reason: finishReason }),
      },
    },
    ['id', 'object', 'created', 'model', 'choices'],
  ),
  InspectRequest: checkedBy(inspectRequest),
  Inspection: inspection,
  TokenPlan: tokenPlan,
  File: object({
    ...{ id: text, object: { const: 'file' }, bytes: integer, created_at: integer, expires_at: integer },
    ...{ filename: text, purpose: text, status: text },
  }),
  Upload: object({
    ...{ id: text, object: { const: 'upload' }, bytes: integer, created_at: integer, expires_at: integer },
    ...{ filename: text, purpose: text, status: { enum: ['pending', 'completed', 'cancelled'] } },
    file: { anyOf: [named('File'), { type: 'null' }] },
    parts: { type: 'array', items: object({ id: text, bytes: integer }) },
  }),
  UploadPart: object({ id: text, object: { const: 'upload.part' }, created_at: integer, upload_id: text }),
  Model: object({ id: text, object: { const: 'model' }, created: integer, owned_by: text }),
  Error: object({
    error: object({
      ...{ message: text, type: text },
      ...{ param: { type: ['string', 'null'] }, code: { type: ['string', 'null'] } },
    }),
  }),
};

const upload = object({ file: { type: 'string', format: 'binary' }, purpose: text }, ['file']);
const described: Readonly<Record<string, Described>> = {
  'POST /v1/chat/completions': {
    summary: 'Answers a question about a video. With stream, an event for each piece, and [DONE] at the end.',
    body: ['application/json', named('ChatCompletionRequest')],
    answers: { ...json(named('ChatCompletion')), 'text/event-stream': named('ChatCompletionChunk') },
  },
  'POST /v1/inspect': {
    summary:
      'What the language model sees of a video. With plan, or ?plan, only how many tokens methods and budgets would leave; nothing is read then.',
    body: ['application/json', named('InspectRequest')],
    answers: json({ anyOf: [named('Inspection'), named('TokenPlan')] }),
  },
  'POST /v1/files': {
    summary: 'Takes a video or picture, whose id stands for its URL in questions.',
    body: ['multipart/form-data', upload],
    answers: json(named('File')),
  },
  'GET /v1/files': { summary: 'The files of this client.', answers: json(list('File')) },
  'GET /v1/files/:id': { summary: 'A file.', answers: json(named('File')) },
  'GET /v1/files/:id/content': {
    summary: 'What was uploaded.',
    answers: { 'application/octet-stream': { type: 'string', format: 'binary' } },
  },
  'DELETE /v1/files/:id': {
    summary: 'Deletes a file.',
    answers: json(object({ id: text, object: { const: 'file' }, deleted: { type: 'boolean' } })),
  },
  'POST /v1/uploads': {
    summary: 'Begins an upload in parts, of which each can be sent again where it breaks off.',
    body: ['application/json', checkedBy(newUpload)],
    answers: json(named('Upload')),
  },
  'GET /v1/uploads/:id': { summary: 'An upload, and its parts that have come.', answers: json(named('Upload')) },
  'POST /v1/uploads/:id/parts': {
    summary: 'Takes a part of at most 64 MiB.',
    body: ['multipart/form-data', object({ data: { type: 'string', format: 'binary' } })],
    answers: json(named('UploadPart')),
  },
  'POST /v1/uploads/:id/complete': {
    summary: 'Makes the file of its parts, in the order in which they are named.',
    body: ['application/json', checkedBy(uploadParts)],
    answers: json(named('Upload')),
  },
  'POST /v1/uploads/:id/cancel': { summary: 'Gives an upload up.', answers: json(named('Upload')) },
  'GET /v1/models': { summary: 'The model.', answers: json(list('Model')) },
  'GET /v1/models/:model': { summary: 'The model.', answers: json(named('Model')) },
  'GET /health': { summary: 'Whether the service runs; needs no key.', answers: json(object({ status: text })) },
  'GET /metrics': { summary: 'Counts for Prometheus.', answers: { 'text/plain': text } },
  'GET /openapi.json': { summary: 'This document; needs no key.', answers: json({ type: 'object' }) },
};

/** Adds `GET /openapi.json`, which describes the routes that are added from now on. */
export function addOpenApi(app: FastifyInstance): void {
  const paths: Record<string, Record<string, object>> = {};
  app.addHook('onRoute', ({ method, url }) => {
    for (const each of [method].flat()) {
      const operation = described[`${each} ${url}`];
      if (operation === undefined) throw new Error(`The OpenAPI document has no ${each} ${url}.`);
      const path = url.replace(/:(\w+)/g, '{$1}');
      paths[path] = { ...paths[path], [each.toLowerCase()]: operationOf(url, operation) };
    }
  });
  app.get('/openapi.json', async () => ({
    openapi: '3.1.0',
    info: { title: 'longvlm', version, description: 'Questions about videos, in the format of OpenAI’s API.' },
    paths,
    components: { schemas, securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
    security: [{}, { key: [] }],
  }));
}

function operationOf(url: string, { summary, body, answers }: Described): object {
  const content = (each: Readonly<Record<string, Schema>>) =>
    Object.fromEntries(Object.entries(each).map(([type, schema]) => [type, { schema }]));
  const parameters = [...url.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: text,
  }));
  return {
    summary,
    ...(parameters.length > 0 && { parameters }),
    ...(body && { requestBody: { required: true, content: content({ [body[0]]: body[1] }) } }),
    responses: {
      200: { description: 'Done.', content: content(answers) },
      default: { description: 'Why it cannot be done.', content: content(json(named('Error'))) },
    },
  };
}
