// A progress bar on stderr, when that is a terminal.
import { SingleBar } from 'cli-progress';
import type { Progress } from '../base/progress.js';

const labels: Readonly<Record<Progress['stage'], string>> = {
  download: 'downloading',
  convert: 'converting',
  load: 'loading',
  fetch: 'fetching',
  probe: 'reading the file',
  encode: 'encoding',
  evaluate: 'evaluating',
};

/** What numbers of a unit are divided by, and what follows them. */
const units: Readonly<Record<Progress['unit'], readonly [divisor: number, text: string]>> = {
  bytes: [1e6, ' MB'],
  share: [0.01, '%'],
  tensors: [1, ' tensors'],
  frames: [1, ' frames'],
  questions: [1, ' questions'],
};

/** Shows the progress of long operations. Silent when stderr is not a terminal. */
export class ProgressBar {
  #bar: SingleBar | undefined;
  #label = '';

  readonly onProgress = ({ stage, done, total, unit, name }: Progress): void => {
    if (!process.stderr.isTTY) return;
    const label = (stage === 'download' && name?.split('/').at(-1)) || labels[stage];
    const [divisor, text] = units[unit];
    const value = Math.round(done / divisor);
    if (label === this.#label) {
      this.#bar?.update(value);
      return;
    }
    this.stop();
    this.#label = label;
    this.#bar = new SingleBar({
      format: `${label.padEnd(16)} ${total > 0 ? `{bar} {value}/{total}${text}, {eta_formatted} left` : `{value}${text}`}`,
      barCompleteChar: '\u2588',
      barIncompleteChar: '\u2591',
      barsize: 30,
      clearOnComplete: true,
      hideCursor: true,
      stream: process.stderr,
    });
    this.#bar.start(Math.round(total / divisor), value);
  };

  /** Removes the bar from the screen. */
  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
    this.#label = '';
  }
}
