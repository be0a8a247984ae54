// A video in a prompt: its runs of tokens, and their times as text.
import type { VideoRun, VideoRuns } from '../base/videoRun.js';
import type { PromptPiece, PromptVideo } from './promptLayout.js';

/** The tokens of a video, and whether the prompt says their times. */
export type PromptTokens = {
  readonly video: VideoRuns;
  readonly timestamps: boolean;
  /** Tokens of the video, with those behind its last run. */
  readonly count: number;
};

/** Tokens of which nothing is known but their number. */
export function unknownRuns(count: number): VideoRuns {
  return { runs: [{ kind: 'segment', start: 0, end: 0, times: [0], tokens: count }], durationSeconds: 0 };
}

/** What a layout is told. */
export function promptVideo({ video, timestamps }: PromptTokens): PromptVideo {
  return { runs: video.runs.map(publicRun), durationSeconds: video.durationSeconds, timestamps };
}

/** A run without the places of its tokens. */
export function publicRun({ kind, start, end, times, tokens }: VideoRun): VideoRun {
  return { kind, start, end, times, tokens };
}

/** The whole video with a text before each run of a segment or step: `[MM:SS]`, or `[H:MM:SS]` from an hour on. */
export function withTimes({ runs }: PromptVideo): PromptPiece[] {
  return runs.flatMap((run, index) =>
    run.kind === 'global' ? [{ video: index }] : [timeText(run.start), { video: index }],
  );
}

/** `[MM:SS]`, or `[H:MM:SS]` from an hour on. */
export function timeText(seconds: number): string {
  const [hours, minutes] = [Math.floor(seconds / 3600), twoDigits((seconds % 3600) / 60)];
  return `[${hours > 0 ? `${hours}:` : ''}${minutes}:${twoDigits(seconds % 60)}]`;
}

/** The whole part of a number, in at least two digits. */
export function twoDigits(value: number): string {
  return String(Math.floor(value)).padStart(2, '0');
}
