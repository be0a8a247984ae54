import type { DecodedStream } from './decode.js';
import type { Argument } from './inputFile.js';
import { runFfmpeg } from './runFfmpeg.js';
import { randomMark } from './shownFrames.js';

/** How a stored picture is turned to be shown: mirrored left to right, then rotated clockwise by `rotation` degrees. */
export type Turn = { readonly rotation: 0 | 90 | 180 | 270; readonly mirrored: boolean };

/** A turn, and who does it: our filters, on the wanted frames alone, or ffmpeg by itself, as only it knows how. */
export type FoundTurn = Turn & { readonly byFfmpeg: boolean; readonly warning?: string };

export const UPRIGHT: Turn = { rotation: 0, mirrored: false };

/** All turns, the plain ones first, with the filters that do them: the same that ffmpeg takes. */
const TURNS: readonly (Turn & { readonly filters: readonly string[] })[] = [
  { rotation: 0, mirrored: false, filters: [] },
  { rotation: 90, mirrored: false, filters: ['transpose=clock'] },
  { rotation: 180, mirrored: false, filters: ['hflip', 'vflip'] },
  { rotation: 270, mirrored: false, filters: ['transpose=cclock'] },
  { rotation: 0, mirrored: true, filters: ['hflip'] },
  { rotation: 90, mirrored: true, filters: ['transpose=clock_flip'] },
  { rotation: 180, mirrored: true, filters: ['vflip'] },
  { rotation: 270, mirrored: true, filters: ['transpose=cclock_flip'] },
];

export function turnFilters({ rotation, mirrored }: Turn): readonly string[] {
  return TURNS.find((turn) => turn.rotation === rotation && turn.mirrored === mirrored)!.filters;
}

/** Who turns pictures, as {@link DecodedStream.turnedBy} says it. */
export function turnedBy({ rotation, mirrored, byFfmpeg }: FoundTurn): DecodedStream['turnedBy'] {
  if (byFfmpeg) return 'ffmpeg';
  return rotation === 0 && !mirrored ? undefined : 'filters';
}

/** Whether a turn exchanges width and height. */
export function isSideways({ rotation }: Turn): boolean {
  return rotation % 180 === 90;
}

/** The turn for an orientation of EXIF, 1 to 8. */
export function turnOfOrientation(orientation: number): Turn {
  const rotation = ([0, 0, 180, 180, 270, 90, 90, 270] as const)[orientation - 1] ?? 0;
  return { rotation, mirrored: [2, 4, 5, 7].includes(orientation) };
}

/**
 * Finds how ffmpeg turns the pictures of a stream, by trying: its own first picture is compared with the stored one in all turns.
 *
 * @param says.angle That of the container's display matrix; undefined without one.
 * @param says.orientation That of EXIF, as we read it; undefined for a video.
 */
export async function findTurn(
  source: DecodedStream,
  says: { readonly angle: number | undefined; readonly orientation: number | undefined },
  signal: AbortSignal | undefined,
): Promise<FoundTurn> {
  const { angle, orientation = 1 } = says;
  const wanted = turnOfOrientation(orientation);
  // Without a matrix in the container it is each picture that says how it is turned, or does not.
  const each = angle === undefined && says.orientation === undefined;
  if (angle === undefined && orientation === 1 && !(await hasMatrix(source, signal)))
    return { ...UPRIGHT, byFfmpeg: each };
  const { shown, stored } = await compareTurns(source, signal);
  // Nothing can be decoded, which the search for frames reports.
  if (shown.length === 0) return { ...UPRIGHT, byFfmpeg: true };
  // The second picture need not be turned as the first.
  const equals = shown
    .slice(0, each ? 1 : 2)
    .map((sum, picture) => TURNS.filter((_, i) => stored[i]?.[picture] === sum));
  const [first = []] = equals;
  const equal = first.filter((turn) => equals.every((turns) => turns.includes(turn)));
  const likeAngle = ({ rotation }: Turn) => rotation === quarterTurns(angle ?? 0);
  const { name } = source.file;
  if (first.length === 0)
    return {
      ...UPRIGHT,
      byFfmpeg: true,
      warning: `'${name}' is to be shown turned by ${angle === undefined ? 'an unusual angle' : `${-angle} degrees`}: ffmpeg turns its pictures within their size, so that the corners are missing.`,
    };
  // Some pictures say something else than the container. Where that changes their size, ffmpeg scales those here.
  if (equal.length === 0) return { ...(first.find(likeAngle) ?? first[0]!), byFfmpeg: true };
  const isEqual = (turn: Turn) =>
    equal.some((each) => each.rotation === turn.rotation && each.mirrored === turn.mirrored);
  // A still that looks the same otherwise turned may be turned as it says; in a video, later pictures differ.
  if (orientation > 1 && isEqual(wanted)) return { ...wanted, byFfmpeg: false };
  if (orientation > 1 && equal.length === 1 && isEqual(UPRIGHT))
    return {
      ...wanted,
      byFfmpeg: false,
      warning: `'${name}' is turned as its EXIF orientation ${orientation} says, which this ffmpeg ignores.`,
    };
  const { rotation, mirrored } = equal.find(likeAngle) ?? equal[0]!;
  return { rotation, mirrored, byFfmpeg: equal.length > 1 || each };
}

/** Whether the first decoded picture says how it is to be turned, as those of cameras and of H.264 and H.265 may. */
async function hasMatrix(source: DecodedStream, signal: AbortSignal | undefined): Promise<boolean> {
  let found = false;
  const name = `showinfo@${randomMark()}`;
  const args: Argument[] = ['-noautorotate', source.file, '-map', `0:${source.stream}`, '-vf'];
  // Only the corner, as the filter sums up all pixels.
  args.push(`crop=w='min(iw,16)':h='min(ih,16)':x=0:y=0:exact=1,${name}`, '-frames:v', '1', '-f', 'null', 'pipe:1');
  await runFfmpeg(source, args, signal, (line) => {
    if (line.startsWith(`[${name} @`) && /displaymatrix: rotation/.test(line)) found = true;
    return false;
  });
  return found;
}

/** Checksums of the first two pictures as ffmpeg shows them, and as they are stored in each of {@link TURNS}. */
async function compareTurns(source: DecodedStream, signal: AbortSignal | undefined) {
  const pictures = 2;
  const shown = TURNS.length;
  const numbered = ['-threads', '1', '-r', '1'];
  const trim = `trim=end_pts=${pictures}`;
  const stored = [
    `[0:${source.stream}]${trim},split=${TURNS.length}${TURNS.map((_, i) => `[s${i}]`).join('')}`,
    ...TURNS.map(({ filters }, i) => `[s${i}]${[...filters, 'format=gray'].join(',')}[o${i}]`),
  ];
  const text = await runFfmpeg(
    source,
    [
      ...[...numbered, '-noautorotate', source.file, ...numbered, source.file],
      // A graph of its own, as ffmpeg sets it up anew where the turn changes.
      ...['-filter_complex', stored.join(';'), '-filter_complex', `[1:${source.stream}]${trim},format=gray[o${shown}]`],
      ...[...TURNS.keys(), shown].flatMap((i) => ['-map', `[o${i}]`]),
      ...[...source.binary.passthrough, '-c:v', 'rawvideo', '-f', 'framemd5', 'pipe:1'],
    ],
    signal,
  );
  const sizes = new Map([...text.matchAll(/^#dimensions (\d+): (\d+x\d+)/gm)].map(([, i, size]) => [Number(i), size]));
  const sums = [...TURNS.keys(), shown].map((i) => {
    const [first, ...others] = [...text.matchAll(new RegExp(`^${i},.*, *([0-9a-f]{32})\\s*$`, 'gm'))].map(
      ([, sum]) => sum,
    );
    // Only the size of the first is known.
    return first === undefined ? [] : [`${sizes.get(i)} ${first}`, ...others];
  });
  return { stored: sums.slice(0, shown), shown: sums[shown]! };
}

/** The clockwise rotation that is nearest to a counter-clockwise angle. */
function quarterTurns(angle: number): Turn['rotation'] | undefined {
  return ([0, 90, 180, 270] as const)[((Math.round(-angle / 90) % 4) + 4) % 4];
}
