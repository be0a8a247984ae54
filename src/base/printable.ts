const LONGEST = 400;

/** `text` with control characters, and others that do not print, as escapes: what a stranger wrote cannot write to a terminal. */
export function escaped(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, escapeOf);
}

/** `text` with control characters as escapes, but for line breaks and tabs. What joins letters or turns their direction stays. */
export function escapedLines(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, escapeOf);
}

function escapeOf(character: string): string {
  const code = character.codePointAt(0)!;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

/** As {@link escaped}, and cut in the middle when it is very long: for names in messages. */
export function printable(text: string): string {
  const half = LONGEST / 2;
  return escaped(text.length > LONGEST ? `${text.slice(0, half)}...${text.slice(-half)}` : text);
}
