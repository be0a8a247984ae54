// What the language model is given, token by token from left to right.
import type { Inspection, PromptSpan } from '../inspection.js';
import {
  type Color,
  counted,
  globalColor,
  ink,
  labelledEvery,
  localColor,
  type Scene,
  type Shape,
  textColor,
  textWidth,
  withCommas,
  wrapped,
} from './scene.js';

/** A stretch of a prompt. */
export type Stretch = {
  readonly kind: 'text' | 'global' | 'local' | 'ending';
  readonly tokens: number;
  /** Of local tokens: their segment. */
  readonly segment?: number;
  /** Of text. */
  readonly text?: string;
};

/** The prompt in order: text, and the video's tokens by kind and segment. Without a language model, those alone. */
export function stretchesOf({ prompt, tokens, method }: Inspection): Stretch[] {
  const spans: readonly PromptSpan[] = prompt ?? [{ kind: 'video', from: 0, to: tokens.video }];
  const global = method.part === 'local' ? 0 : tokens.global;
  const local = method.part === 'global' ? 0 : tokens.local;
  return spans.flatMap((span): Stretch[] => {
    if (span.kind === 'text') return [{ kind: 'text', tokens: span.tokens, text: span.text }];
    const stretches: Stretch[] = [];
    const upTo = (end: number) => Math.min(span.to, end);
    for (let row = span.from; row < span.to; ) {
      const segment = Math.floor((row - global) / method.tokensPerSegment);
      const [end, stretch] =
        row < global
          ? [upTo(global), { kind: 'global' } as const]
          : row < global + local
            ? [
                upTo(Math.min(global + (segment + 1) * method.tokensPerSegment, global + local)),
                { kind: 'local', segment } as const,
              ]
            : [span.to, { kind: 'ending' } as const];
      stretches.push({ ...stretch, tokens: end - row });
      row = end;
    }
    return stretches;
  });
}

const colors: Readonly<Record<Stretch['kind'], Color>> = {
  text: textColor,
  global: globalColor,
  local: localColor,
  ending: globalColor,
};

const barHeight = 34;
const leastWidth = 3;

/** A bar of the prompt: text, global tokens and the local ones of each segment, in order, and how many these are. */
export function promptScene(inspection: Inspection, options: { readonly width?: number } = {}): Scene {
  const { width = 960 } = options;
  const stretches = stretchesOf(inspection);
  const widths = widthsOf(stretches, width);
  const locals = widths.filter((_, index) => stretches[index]!.kind === 'local');
  const every = labelledEvery(
    locals.length,
    Math.max(
      1,
      locals.reduce((sum, each) => sum + each, 0),
    ),
  );
  const shapes: Shape[] = [];
  let x = 0;
  for (const [index, stretch] of stretches.entries()) {
    const inner = Math.max(0.5, widths[index]! - (stretches.length > width / 6 ? 0.25 : 1.5));
    shapes.push(stretchShape(stretch, x, inner, inspection.method.whole ? undefined : every));
    x += widths[index]!;
  }
  const legend = legendOf(inspection, stretches, width);
  shapes.push({ kind: 'group', x: 0, y: barHeight + 22, shapes: legend.shapes });
  return {
    ...{ width, shapes },
    height: barHeight + 22 + legend.height,
    title: 'What the language model sees',
    description: `${summaryOf(inspection, stretches)} In order: ${inWords(stretches)}.`,
  };
}

/** Widths by the numbers of tokens; what would hardly be seen is wider. */
function widthsOf(stretches: readonly Stretch[], width: number): number[] {
  const least = Math.min(leastWidth, width / Math.max(1, stretches.length));
  const all = Math.max(1, sumOf(stretches));
  const isSmall = ({ tokens }: Stretch) => (tokens / all) * width < least;
  const small = stretches.filter(isSmall);
  const rest = Math.max(1, all - sumOf(small));
  return stretches.map((each) => (isSmall(each) ? least : (each.tokens / rest) * (width - small.length * least)));
}

const sumOf = (stretches: readonly Stretch[]) => stretches.reduce((sum, { tokens }) => sum + tokens, 0);

function stretchShape(stretch: Stretch, x: number, width: number, every: number | undefined): Shape {
  const { kind, tokens, segment } = stretch;
  const opacity = kind === 'local' && segment! % 2 === 1 ? 0.72 : 0.95;
  const shapes: Shape[] = [
    { kind: 'rect', x: 0, y: 0, width, height: barHeight, color: colors[kind], opacity, radius: 2 },
  ];
  // Local tokens by their segment, as the timeline has it; all else by its number.
  const isNumbered = kind === 'local' && every !== undefined;
  const text = String(isNumbered ? segment! + 1 : tokens);
  const hasRoom = isNumbered ? segment! % every === 0 : textWidth(text, 11) + 4 <= width;
  if (hasRoom)
    shapes.push({
      kind: 'text',
      x: width / 2,
      y: barHeight / 2 + 4,
      text,
      size: 11,
      anchor: 'middle',
      bold: true,
      color: ink,
    });
  return { kind: 'group', x, y: 0, shapes, title: nameOf(stretch) };
}

function nameOf({ kind, tokens, segment, text }: Stretch): string {
  if (kind === 'text') return `${counted(tokens, 'token')} of text: ${(text ?? '').trim().slice(0, 200)}`;
  if (kind === 'local') return `Segment ${segment! + 1}: ${counted(tokens, 'local token')}`;
  return kind === 'global' ? counted(tokens, 'global token') : `${counted(tokens, 'token')} that end the video`;
}

/** Kinds that are there, with how many tokens they have. */
export function kindsOf(stretches: readonly Stretch[]): { kind: Stretch['kind']; tokens: number }[] {
  return (['text', 'global', 'local', 'ending'] as const)
    .map((kind) => ({ kind, tokens: sumOf(stretches.filter((each) => each.kind === kind)) }))
    .filter(({ tokens }) => tokens > 0);
}

const kindNames = { text: 'text', global: 'global', local: 'local', ending: 'end of the video' } as const;

function legendOf(inspection: Inspection, stretches: readonly Stretch[], width: number) {
  const shapes: Shape[] = [];
  let [x, y] = [0, 0];
  const place = (wide: number) => {
    if (x > 0 && x + wide > width) [x, y] = [0, y + 20];
  };
  for (const { kind, tokens } of kindsOf(stretches)) {
    const text = `${withCommas(tokens)} ${kindNames[kind]}`;
    const wide = 16 + textWidth(text, 12) + 18;
    place(wide);
    shapes.push(
      { kind: 'rect', x, y: y - 10, width: 11, height: 11, color: colors[kind], radius: 2 },
      { kind: 'text', x: x + 16, y, text, size: 12, color: ink },
    );
    x += wide;
  }
  const summary = summaryOf(inspection, stretches);
  for (const text of wrapped(summary, 12, width)) {
    place(textWidth(text, 12));
    shapes.push({ kind: 'text', x, y, text, size: 12, color: ink, opacity: 0.75 });
    x = width;
  }
  return { shapes, height: y + 6 };
}

/** All tokens, and how much of a context they fill. */
export function summaryOf({ tokens: { prompt, context, video } }: Inspection, stretches: readonly Stretch[]): string {
  if (prompt === undefined) return `${counted(sumOf(stretches), 'token')} of the video.`;
  const all = `${counted(prompt, 'token')} in all, ${withCommas(video)} of them the video’s`;
  if (context === undefined) return `${all}.`;
  const part = (100 * prompt) / context;
  return `${all}: ${part < 10 ? part.toFixed(1) : Math.round(part)}% of a context of ${withCommas(context)}.`;
}

/** The order of kinds, as words. */
function inWords(stretches: readonly Stretch[]): string {
  const words: string[] = [];
  for (let index = 0; index < stretches.length; index++) {
    const first = stretches[index]!;
    let tokens = first.tokens;
    while (stretches[index + 1]?.kind === first.kind) tokens += stretches[++index]!.tokens;
    words.push(`${withCommas(tokens)} ${kindNames[first.kind]}`);
  }
  return words.length > 12 ? `${words.slice(0, 12).join(', ')} and so on` : words.join(', ');
}
