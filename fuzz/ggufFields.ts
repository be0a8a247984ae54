// Where the numbers of a GGUF header lie that say how much follows and what it is.

export type Field = { readonly at: number; readonly size: number };

const sizes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const text = 8;
const list = 9;

/** The fields of a sound file. */
export function ggufFields(bytes: Buffer): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const number = (size: 4 | 8): number => {
    fields.push({ at, size });
    const value = size === 4 ? bytes.readUInt32LE(at) : Number(bytes.readBigUInt64LE(at));
    at += size;
    return value;
  };
  const skipText = () => {
    const length = number(8);
    at += length;
  };
  const skipValue = (type: number) => {
    if (type === text) return skipText();
    if (type === list) {
      const items = number(4);
      const count = number(8);
      if (items !== text) at += count * sizes[items]!;
      // Of a vocabulary the first words will do.
      else
        for (let i = 0; i < count; i++) {
          if (i < 8) skipText();
          else at += 8 + Number(bytes.readBigUInt64LE(at));
        }
      return;
    }
    fields.push({ at, size: sizes[type]! });
    at += sizes[type]!;
  };
  number(4);
  number(4);
  const tensors = number(8);
  const values = number(8);
  for (let i = 0; i < values; i++) {
    skipText();
    skipValue(number(4));
  }
  for (let i = 0; i < tensors; i++) {
    skipText();
    const axes = number(4);
    for (let axis = 0; axis < axes; axis++) number(8);
    number(4);
    number(8);
  }
  return fields;
}
