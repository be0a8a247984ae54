// A progress bar on stderr, when that is a terminal.
import { SingleBar } from 'cli-progress';
import type { EncodeProgress } from '../encode/encodeVideo.js';
import type { EvaluationProgress } from '../eval/evaluate.js';
import type { HubProgress } from '../models/hub/hub.js';

/** Shows how far loading, encoding and evaluating are. Silent where stderr is no terminal. */
export class Progress {
  #bar: SingleBar | undefined;
  #stage = '';

  readonly onDownload = ({ file, bytes, totalBytes }: HubProgress): void => {
    const name = file.split('/').at(-1)!;
    this.#show(name, Math.round(bytes / 1e6), Math.round(totalBytes / 1e6), ' MB');
  };

  /** Loading of the language model, `0` to `1`. */
  readonly onLoad = (share: number): void => this.#show('loading', Math.round(share * 100), 100, '%');

  readonly onEncode = ({ stage, frames, totalFrames }: EncodeProgress): void => {
    if (stage === 'probe') this.#show('reading the file', 0, totalFrames, ' frames');
    else this.#show('encoding', frames, totalFrames, ' frames');
  };

  readonly onEvaluate = ({ questions, totalQuestions }: EvaluationProgress): void =>
    this.#show('evaluating', questions, totalQuestions, ' questions');

  /** Takes the bar off the screen. */
  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
    this.#stage = '';
  }

  #show(stage: string, value: number, total: number, unit: string): void {
    if (!process.stderr.isTTY) return;
    if (stage !== this.#stage) {
      this.stop();
      this.#stage = stage;
      this.#bar = new SingleBar({
        format: `${stage.padEnd(16)} {bar} {value}/{total}${unit}, {eta_formatted} left`,
        barCompleteChar: '\u2588',
        barIncompleteChar: '\u2591',
        barsize: 30,
        clearOnComplete: true,
        hideCursor: true,
        stream: process.stderr,
      });
      this.#bar.start(total, value);
    } else this.#bar?.update(value);
  }
}
