// JSON of strangers. What is nested deep takes JSON.parse half a second for a megabyte, and what has many small parts takes it
// fifty times its size in memory.

/** Deeper than anything that is written to be read. */
const maxDepth = 100;
const maxParts = 100_000;

/**
 * Parses a text of some megabytes at most.
 * @throws SyntaxError when it is no JSON, RangeError when it is nested too deep, or has more parts than anything has
 */
export function parseJsonText(text: string): unknown {
  checkForm(text);
  return JSON.parse(text);
}

const [quote, comma, openList, backslash, closeList, openObject, closeObject] = [34, 44, 91, 92, 93, 123, 125];

function checkForm(text: string): void {
  let depth = 0;
  let parts = 0;
  let isInText = false;
  for (let at = 0; at < text.length; at++) {
    const character = text.charCodeAt(at);
    if (isInText && character === backslash) at++;
    else if (character === quote) isInText = !isInText;
    else if (isInText) continue;
    else if (character === comma) parts++;
    else if (character === openList || character === openObject) {
      depth++;
      parts++;
    } else if (character === closeList || character === closeObject) depth--;
    if (depth > maxDepth) throw new RangeError(`It is nested more than ${maxDepth} deep`);
    if (parts > maxParts) throw new RangeError(`It has more than ${maxParts} parts`);
  }
}
