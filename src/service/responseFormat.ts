import { anyObject, readAnswerSchema, UnusableSchema } from '../llm/answerSchema.js';
import { ApiError } from './apiError.js';
import type { ResponseFormat } from './chatRequest.js';

/**
 * The grammar of an answer; undefined for free text.
 * @throws ApiError for a schema that cannot be held
 */
export function readResponseFormat(format: ResponseFormat | null | undefined): { jsonSchema: object } | undefined {
  if (!format || format.type === 'text') return undefined;
  if (format.type === 'json_object') return { jsonSchema: anyObject };
  try {
    return { jsonSchema: readAnswerSchema(format.json_schema.schema, 'response_format.json_schema.schema') };
  } catch (error) {
    if (!(error instanceof UnusableSchema)) throw error;
    throw new ApiError(400, error.message, { param: error.path });
  }
}
