/** A part of a model that llama.cpp's gguf-split made. */
export type SplitPart = { /** The name up to the number. */ readonly start: string; readonly number: number };

/** What the name of a file says, as in `model-00002-of-00003.gguf`; undefined for a model of one file. */
export function splitPart(file: string): SplitPart | undefined {
  const [, start, number] = /^(.*-)(\d{5})-of-\d{5}\.gguf$/i.exec(file) ?? [];
  return start === undefined ? undefined : { start, number: Number(number) };
}
