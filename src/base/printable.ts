const LONGEST = 400;

/**
 * `text` for a message: control characters, and others that do not print, as escapes, so that a name cannot write to a
 * terminal; cut in the middle when it is very long.
 */
export function printable(text: string): string {
  const half = LONGEST / 2;
  const short = text.length > LONGEST ? `${text.slice(0, half)}...${text.slice(-half)}` : text;
  return short.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0)!;
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
}
