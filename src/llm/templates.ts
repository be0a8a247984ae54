// The registry of layouts by name.
import { frozenCopy, optional } from '../base/frozenCopy.js';
import { checkFunction, checkObject, checkOneOf, checkString, checkText } from '../base/validate.js';
import { chatTemplate } from './layouts/chatTemplate.js';
import { gemma3 } from './layouts/gemma3.js';
import { internvl } from './layouts/internvl.js';
import { llavaOnevision } from './layouts/llavaOnevision.js';
import { qwen3Vl } from './layouts/qwen3Vl.js';
import { qwen25Vl } from './layouts/qwen25Vl.js';
import { smolvlm } from './layouts/smolvlm.js';
import { longVlmV1, type VicunaTemplate, vicunaLayout, vicunaV11 } from './layouts/vicuna.js';
import type { PromptLayout } from './promptLayout.js';

/** How a conversation about a video is laid out: Vicuna's layout with your own words, or your own layout. */
export type PromptTemplate = VicunaTemplate | PromptLayout;

/**
 * The name of a layout: a built-in one, or one that was added by {@link registerPromptTemplate}. `chat_template` is the chat
 * template in the language model's file.
 */
export type PromptTemplateName =
  | ('long_vlm_v1' | 'vicuna_v1_1' | 'chat_template')
  | ('llava_onevision' | 'internvl' | 'smolvlm' | 'qwen3_vl' | 'qwen2_5_vl' | 'gemma3')
  | (string & {});

const layouts = new Map<string, PromptLayout>();
const names: PromptTemplateName[] = [];

/** The names of all layouts: the built-in ones, then those that were registered. */
export const promptTemplateNames: readonly PromptTemplateName[] = names;

for (const layout of [longVlmV1, vicunaV11, chatTemplate, llavaOnevision, internvl, smolvlm, qwen3Vl, qwen25Vl, gemma3])
  add(layout);

function add(layout: PromptLayout): void {
  if (!layouts.has(layout.name)) names.push(layout.name);
  layouts.set(layout.name, layout);
}

/**
 * Adds a layout, which can then be used by its name wherever a template is given, or replaces the one with the same name.
 * @throws TypeError or RangeError if `layout` is not a layout
 */
export function registerPromptTemplate(layout: PromptLayout): void {
  add(checkLayout('layout', layout));
}

/**
 * Returns the layout with that name, or the given layout after a check.
 * @throws TypeError or RangeError for an unknown name or an invalid layout
 */
export function resolvePromptTemplate(template: PromptTemplateName | PromptTemplate): PromptLayout {
  if (typeof template === 'string') return layouts.get(checkOneOf('template', template, names))!;
  checkObject('template', template);
  return 'firstTurn' in template ? checkLayout('template', template) : vicunaLayout(template);
}

function checkLayout(name: string, layout: PromptLayout): PromptLayout {
  return frozenCopy(name, layout, {
    name: checkString,
    system: checkText,
    firstTurn: checkFunction,
    nextTurn: checkFunction,
    pastTurn: optional(checkFunction),
  });
}

/**
 * The system text: the given one, which may be empty, or the layout's default.
 * @throws TypeError when `system` is not a string
 */
export function systemText(layout: PromptLayout, system: string | undefined): string {
  return system === undefined ? layout.system : checkText('system', system);
}
