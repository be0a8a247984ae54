// What tells a method how important tokens are: the attention that they get, or what stands in for it.
import { type AttentionKind, type AttentionSource, attentionKinds } from '../base/attention.js';
import { checkOneOf, wrongValue } from '../base/validate.js';

/** How a report says it. */
const words: Readonly<Record<AttentionSource, string>> = {
  cls: "by the class token's attention",
  pooling: "by the pooling head's attention",
  norm: 'by the lengths of tokens, in place of attention',
  div: 'by how tokens differ, without attention',
};

/**
 * Settles a method's option `attention`.
 * @param given `auto`, a source, or `none`, which is `div` by its former name. Defaults to `auto`: the tower's, if it gives any
 * @param own what the tower gives
 * @param otherwise what the method takes without: `norm` or `div`
 * @throws TypeError or RangeError for what the method does not take, or the tower does not give
 */
export function settleAttention(
  given: unknown,
  own: AttentionKind | undefined,
  otherwise: 'norm' | 'div',
): AttentionSource {
  const choices = [
    'auto',
    ...attentionKinds,
    'norm',
    ...(otherwise === 'div' ? (['div', 'none'] as const) : []),
  ] as const;
  const wanted = checkOneOf<(typeof choices)[number]>('attention', given ?? 'auto', choices);
  if (wanted === 'auto') return own ?? otherwise;
  if (wanted === 'none') return 'div';
  const isTowers = wanted === 'cls' || wanted === 'pooling';
  if (isTowers && wanted !== own)
    wrongValue(
      'attention',
      `auto, ${own ?? otherwise}, as the vision tower gives ${own ? `no other` : 'none'},`,
      wanted,
    );
  return wanted;
}

/** A report that says what tokens were ranked by. */
export function withAttention<Report extends { readonly changed: boolean; readonly text: string }>(
  report: Report,
  attention: AttentionSource,
): Report & { readonly attention: AttentionSource } {
  const text = report.changed ? report.text.replace(/\.$/, `, ${words[attention]}.`) : report.text;
  return { ...report, attention, text };
}
