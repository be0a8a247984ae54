// Converts pieces of a chat template to tokens. What the template writes may be special tokens; what fills its slots is text.
import type { Token } from 'node-llama-cpp';
import type { LanguageModel } from '../model.js';
import type { Slot, TemplatePart } from './chatTemplate.js';

/** The texts for slots. */
export type SlotTexts = { readonly [Name in Slot['slot']]?: string };

/** The tokens of `parts`, whose slots hold `texts`. Special tokens that are spelt out in these are treated as plain text. */
export function tokensOfParts(model: LanguageModel, parts: readonly TemplatePart[], texts: SlotTexts): Token[] {
  const filled = parts.map((part) => (typeof part === 'string' ? part : filling(part, texts)));
  const isSlot = parts.map((part) => typeof part !== 'string');
  const tokens: Token[] = [];
  let text = '';
  const end = (isSpecial: boolean) => {
    // Only at the start of a prompt may the tokenizer add a space.
    const found = model.model.tokenize(text, isSpecial, tokens.length > 0 ? 'trimLeadingSpace' : undefined);
    for (const token of found) tokens.push(token);
    text = '';
  };
  const broken = breaksIn(model, filled, isSlot);
  for (const [index, part] of filled.entries()) {
    const breaks = broken.get(index);
    if (breaks === undefined) {
      // Texts that lie next to each other are tokenised as one, as they would be anywhere else.
      text += part;
      continue;
    }
    end(true);
    let from = 0;
    for (const to of [...breaks, part.length]) {
      text = part.slice(from, to);
      end(false);
      from = to;
    }
  }
  end(true);
  return tokens;
}

/** For each slot that has a share in the text of a special token: where it is broken, behind the first characters of these. */
function breaksIn(model: LanguageModel, filled: readonly string[], isSlot: readonly boolean[]): Map<number, number[]> {
  const broken = new Map<number, number[]>();
  if (!isSlot.includes(true)) return broken;
  const starts: number[] = [];
  for (const index of filled.keys()) starts.push(index === 0 ? 0 : starts[index - 1]! + filled[index - 1]!.length);
  const whole = filled.join('');
  for (const [start, end] of model.specialTexts.findIn(whole))
    for (const [index, from] of starts.entries()) {
      if (!isSlot[index] || start >= from + filled[index]!.length || end <= from) continue;
      const breaks = broken.get(index) ?? [];
      const at = start + String.fromCodePoint(whole.codePointAt(start)!).length - from;
      if (at > 0 && at < filled[index]!.length && breaks.at(-1) !== at) breaks.push(at);
      broken.set(index, breaks);
    }
  return broken;
}

function filling({ slot, trimStart, trimEnd }: Slot, texts: SlotTexts): string {
  let text = texts[slot] ?? '';
  if (trimStart) text = text.trimStart();
  return trimEnd ? text.trimEnd() : text;
}
