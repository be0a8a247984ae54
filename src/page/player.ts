// The video as it is watched. What the browser cannot play, or may not fetch, is shown frame by frame.
import { byId } from './dom.js';

export type PlayerListeners = {
  /** Called with the time that is shown, and whether someone went there. */
  readonly onTime: (seconds: number, sought: boolean) => void;
  readonly onLength: () => void;
  /** Called when frames have to stand for the video: see {@link Player.still}. */
  readonly onUnplayable: () => void;
};

export class Player {
  readonly #video = byId<HTMLVideoElement>('video');
  readonly #still = byId<HTMLImageElement>('still');
  readonly #words = byId('still-words');
  readonly #listeners: PlayerListeners;
  #blob: string | undefined;
  #isPicture = false;
  #wanted: number | undefined;

  constructor(listeners: PlayerListeners) {
    const { onTime, onLength } = listeners;
    this.#listeners = listeners;
    const video = this.#video;
    video.addEventListener('timeupdate', () => onTime(video.currentTime, false));
    video.addEventListener('seeked', () => onTime(video.currentTime, true));
    video.addEventListener('loadedmetadata', () => {
      if (this.#wanted !== undefined) video.currentTime = this.#wanted;
      this.#wanted = undefined;
      onLength();
    });
    video.addEventListener('error', () => {
      if (this.#blob !== undefined)
        this.#showStill('This browser cannot play the video. The frames that the model sees are shown instead.');
    });
  }

  /** Seconds; undefined while it is not known. */
  get length(): number | undefined {
    return this.plays && Number.isFinite(this.#video.duration) ? this.#video.duration : undefined;
  }

  get plays(): boolean {
    return !this.#video.hidden;
  }

  openFile(file: File): void {
    this.close();
    this.#blob = URL.createObjectURL(file);
    this.#isPicture = file.type.startsWith('image/');
    if (this.#isPicture) {
      this.#showStill('');
      this.#show(this.#blob);
    } else {
      this.#video.hidden = false;
      this.#video.src = this.#blob;
    }
  }

  openUrl(url: string): void {
    this.close();
    const host = URL.canParse(url) ? new URL(url).host : '';
    this.#showStill(
      `The service reads this video${host === '' ? '' : ` from ${host}`}, and this page asks no other site. The frames that the model sees are shown.`,
    );
  }

  /** Goes to a time, and waits there. @returns whether there is a video to go to it in */
  seek(seconds: number): boolean {
    if (!this.plays) return false;
    if (this.#video.readyState === 0) this.#wanted = seconds;
    else this.#video.currentTime = Math.min(seconds, this.length ?? seconds);
    return true;
  }

  /** The frame to show in place of a video. */
  still(source: string | undefined): void {
    if (!this.plays && !this.#isPicture) this.#show(source);
  }

  close(): void {
    this.#wanted = undefined;
    this.#isPicture = false;
    this.#video.removeAttribute('src');
    this.#video.load();
    this.#still.hidden = true;
    this.#still.removeAttribute('src');
    this.#words.hidden = true;
    if (this.#blob !== undefined) URL.revokeObjectURL(this.#blob);
    this.#blob = undefined;
  }

  #showStill(words: string): void {
    this.#video.hidden = true;
    this.#words.textContent = words;
    this.#words.hidden = words === '';
    this.#listeners.onUnplayable();
  }

  #show(source: string | undefined): void {
    this.#still.hidden = source === undefined;
    if (source !== undefined) this.#still.src = source;
  }
}
