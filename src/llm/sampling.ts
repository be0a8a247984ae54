// Checks sampling options and converts them to node-llama-cpp's.
import type { Llama, LlamaGrammar, LlamaModel, SequenceEvaluateOptions, Token } from 'node-llama-cpp';
import { LongVLMError, messageOf } from '../base/errors.js';
import { checkInteger, checkNumber, checkObject, checkString, wrongType } from '../base/validate.js';
import { loadNodeLlamaCpp, withErrorLog } from './llama.js';

/** Default temperature, as in the reference implementation. */
export const defaultTemperature = 0.2;

/** How the next token is chosen. Names and meanings are node-llama-cpp's. */
export type SamplingOptions = {
  /** `0` always takes the most likely token; higher is more varied. Defaults to the chat's own. */
  temperature?: number;
  /** Only the `topK` most likely tokens are candidates; `0` means all. Defaults to `40`. */
  topK?: number;
  /** Only the most likely tokens that together reach this probability are candidates. Defaults to `0.95`. */
  topP?: number;
  /** Tokens below this share of the most likely token's probability are left out. Defaults to `0`. */
  minP?: number;
  /** Seed that makes sampling repeatable. Defaults to the current time. */
  seed?: number;
  /** Lowers the probability of tokens that are already in the answer. Off by default. */
  repeatPenalty?: {
    /** Strength of the penalty. Defaults to `1.1`. */
    penalty?: number;
    /** How many of the last tokens are considered. Defaults to `64`. */
    lastTokens?: number;
    frequencyPenalty?: number;
    presencePenalty?: number;
  };
  /** DRY: penalises repeating a sequence of tokens. Off by default. */
  dryRepeatPenalty?: { strength: number; base?: number; allowedLength?: number; lastTokens?: number | null };
  /** XTC: randomly excludes the most likely tokens. Off by default. */
  xtc?: { probability: number; threshold: number };
  /** Restricts the answer to a GBNF grammar or a JSON schema. Free text by default. */
  grammar?: string | { readonly jsonSchema: object };
};

/** The names of {@link SamplingOptions}. */
export const samplingNames = [
  ...(['temperature', 'topK', 'topP', 'minP', 'seed'] as const),
  ...(['repeatPenalty', 'dryRepeatPenalty', 'xtc', 'grammar'] as const),
];

/** @throws TypeError or RangeError for a bad option. */
export function checkSamplingOptions(options: SamplingOptions): void {
  const { temperature, topK, topP, minP, seed, repeatPenalty, dryRepeatPenalty, xtc, grammar } = options;
  if (temperature !== undefined) checkNumber('temperature', temperature, 0);
  if (topK !== undefined) checkInteger('topK', topK, 0);
  if (topP !== undefined) checkNumber('topP', topP, 0, 1);
  if (minP !== undefined) checkNumber('minP', minP, 0, 1);
  if (seed !== undefined) checkInteger('seed', seed, 0, 0xffffffff);
  if (repeatPenalty !== undefined) {
    checkObject('repeatPenalty', repeatPenalty);
    if (repeatPenalty.penalty !== undefined) checkNumber('repeatPenalty.penalty', repeatPenalty.penalty, 0);
    if (repeatPenalty.lastTokens !== undefined) checkInteger('repeatPenalty.lastTokens', repeatPenalty.lastTokens, 0);
  }
  if (dryRepeatPenalty !== undefined)
    checkNumber('dryRepeatPenalty.strength', checkObject('dryRepeatPenalty', dryRepeatPenalty).strength, 0);
  if (xtc !== undefined) {
    checkNumber('xtc.probability', checkObject('xtc', xtc).probability, 0, 1);
    checkNumber('xtc.threshold', xtc.threshold, 0, 1);
  }
  if (typeof grammar === 'string') checkString('grammar', grammar);
  else if (grammar !== undefined && (typeof grammar?.jsonSchema !== 'object' || grammar.jsonSchema === null))
    wrongType('grammar', 'GBNF text or { jsonSchema }', grammar);
}

/**
 * The options for one evaluation.
 * @param answered the tokens of the answer so far, read anew for each token
 * @throws LongVLMError `ERR_LONGVLM_LLM` for a grammar that does not parse
 * @internal
 */
export async function toEvaluateOptions(
  options: SamplingOptions,
  model: LlamaModel,
  llama: Llama,
  answered: () => Token[],
): Promise<SequenceEvaluateOptions> {
  const { repeatPenalty } = options;
  return {
    temperature: options.temperature ?? defaultTemperature,
    ...(options.topK !== undefined && { topK: options.topK }),
    ...(options.topP !== undefined && { topP: options.topP }),
    ...(options.minP !== undefined && { minP: options.minP }),
    ...(options.seed !== undefined && { seed: options.seed }),
    ...(options.xtc !== undefined && { xtc: options.xtc }),
    ...(options.dryRepeatPenalty !== undefined && { dryRepeatPenalty: options.dryRepeatPenalty }),
    ...(repeatPenalty !== undefined && {
      repeatPenalty: {
        penalty: repeatPenalty.penalty ?? 1.1,
        frequencyPenalty: repeatPenalty.frequencyPenalty ?? 0,
        presencePenalty: repeatPenalty.presencePenalty ?? 0,
        maxPunishTokens: repeatPenalty.lastTokens ?? 64,
        punishTokens: () => answered().slice(-(repeatPenalty.lastTokens ?? 64)),
      },
    }),
    ...(options.grammar !== undefined && {
      grammarEvaluationState: await grammarState(options.grammar, model, llama),
    }),
  };
}

async function grammarState(source: NonNullable<SamplingOptions['grammar']>, model: LlamaModel, llama: Llama) {
  const { LlamaGrammarEvaluationState } = await loadNodeLlamaCpp();
  return withErrorLog(
    async () => {
      const grammar: LlamaGrammar =
        typeof source === 'string'
          ? await llama.createGrammar({ grammar: source })
          : await llama.createGrammar({ grammar: await grammarOf(source.jsonSchema, llama) });
      return new LlamaGrammarEvaluationState({ model, grammar });
    },
    (lines, error) =>
      new LongVLMError(
        'ERR_LONGVLM_LLM',
        `The grammar cannot be used: ${lines[0] ?? messageOf(error)}. Check its GBNF text or JSON schema.`,
        { cause: error },
      ),
  );
}

/** A grammar that ends with the value: node-llama-cpp has empty lines behind it, with which a model may go on for ever. */
async function grammarOf(jsonSchema: object, llama: Llama): Promise<string> {
  const { grammar } = await llama.createGrammarForJsonSchema(jsonSchema as never);
  return grammar.replace(/^(root ::= .*) "(\\n)+" \[\\n\]\*$/m, '$1');
}
