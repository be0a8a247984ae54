// Times in an answer's text.

/** A piece of a text; one that names a time has its seconds. */
export type TextPart = { readonly text: string; readonly seconds?: number };

/** `m:ss`, `h:mm:ss`, both with a fraction or without, or seconds with their unit; no time of day, no ratio. */
const time =
  /(?<![\w:.,])(?:(?:(\d{1,2}):(?=[0-5]\d:))?(\d{1,3}):([0-5]\d(?:\.\d+)?)(?![\w:])(?!\s?[ap]\.?m\b)|(\d+(?:\.\d+)?)\s?(?:s|secs?|seconds?)\b)/gi;

/**
 * Cuts a text at the times in it.
 * @param end times after it, in seconds, are plain text
 */
export function splitTimes(text: string, end = Number.POSITIVE_INFINITY): TextPart[] {
  const parts: TextPart[] = [];
  let done = 0;
  for (const found of text.matchAll(time)) {
    const [words, hours, minutes, seconds, plain] = found;
    const at = plain === undefined ? Number(hours ?? 0) * 3600 + Number(minutes) * 60 + Number(seconds) : Number(plain);
    if (at > end) continue;
    if (found.index > done) parts.push({ text: text.slice(done, found.index) });
    parts.push({ text: words, seconds: at });
    done = found.index + words.length;
  }
  if (done < text.length) parts.push({ text: text.slice(done) });
  return parts;
}
