// The page: a video, what the model sees of it, and a conversation about it.
import { Api, isAbort, type Model, sentenceOf } from './api.js';
import { Budget } from './budget.js';
import { type Given, listenForVideos } from './chooser.js';
import { Conversation } from './conversation.js';
import { announce, byId, setText } from './dom.js';
import { askForKey, modelWithKey } from './keyDialog.js';
import { Player } from './player.js';
import { Seen } from './seen.js';
import { uploadWords } from './turnView.js';
import { type Upload, upload } from './upload.js';
import { bytes } from './words.js';

/** A video that is open. */
type Opened = {
  /** Its address for the service; rejects where it could not be uploaded. */
  readonly url: Promise<string>;
  readonly uploading?: Upload;
  /** How much of it is uploaded, and how large it is. */
  sent: number;
  readonly size: number;
};

const api = new Api();
let opened: Opened | undefined;

const player = new Player({
  onTime: (seconds, sought) => seen.at(seconds, sought),
  onLength: () => void budget.plan(),
  onUnplayable: () => player.still(seen.still),
});
const secondsOf = (): number | undefined => player.length ?? seen.length;
const seek = (seconds: number) => {
  if (!player.seek(seconds)) seen.at(seconds, true);
  player.still(seen.still);
};
const budget: Budget = new Budget(api, secondsOf, () => seen.onSettings());
const seen: Seen = new Seen(api, {
  samplingOf: () => budget.sampling,
  onSeek: seek,
  onShown: () => player.still(seen.still),
});
const conversation = new Conversation({
  api,
  videoUrl: async (onWait) => {
    const video = opened!;
    if (video.sent === 1) return video.url;
    const waiting = setInterval(() => onWait(uploadWords(video.sent, video.size), video.sent), 200);
    return video.url.finally(() => clearInterval(waiting));
  },
  samplingOf: () => budget.sampling,
  secondsOf,
  onSeek: (seconds) => {
    seek(seconds);
    byId('stage').scrollIntoView({ block: 'nearest' });
  },
});

function open(given: Given): void {
  close();
  const name = 'file' in given ? given.file.name : nameOfUrl(given.url);
  setText(byId('video-name'), name);
  setText(byId('video-facts'), 'file' in given ? bytes(given.file.size) : '');
  opened = 'file' in given ? openFile(given.file) : { url: Promise.resolve(given.url), sent: 1, size: 0 };
  if ('url' in given) player.openUrl(given.url);
  byId('welcome').hidden = true;
  byId('work').hidden = false;
  byId('another').hidden = false;
  document.title = `${name} · longvlm`;
  // On a phone a keyboard would come up at once.
  if (matchMedia('(pointer: fine)').matches) byId('question').focus({ preventScroll: true });
  announce(`Opened ${name}.`);
  void budget.plan();
  const { url } = opened;
  url.then((address) => seen.look(address)).catch(() => {});
}

function openFile(file: File): Opened {
  player.openFile(file);
  const bar = byId<HTMLProgressElement>('upload-progress');
  const show = (part: number) => {
    if (opened) opened.sent = part;
    bar.value = part;
    setText(byId('upload-words'), part < 1 ? uploadWords(part, file.size) : 'Storing the video');
  };
  byId('upload').hidden = false;
  show(0);
  const isThis = () => opened?.uploading === uploading;
  const uploading: Upload = upload(api, file, {
    onProgress: (part) => isThis() && show(part),
    onBreak: (seconds) => {
      if (!isThis()) return;
      setText(byId('upload-words'), `The connection broke. Trying again in ${seconds} s`);
      announce('The connection broke. The upload is tried again.');
    },
  });
  const url = uploading.id.finally(() => {
    if (isThis()) byId('upload').hidden = true;
  });
  url.catch((error: unknown) => {
    if (!isThis()) return;
    close();
    if (!isAbort(error)) trouble(sentenceOf(error));
    byId('choose').focus();
  });
  return { url, uploading, sent: 0, size: file.size };
}

/** Back to the beginning; an upload is deleted. */
function close(): void {
  const before = opened;
  opened = undefined;
  before?.uploading?.cancel();
  before?.uploading?.id.then((id) => api.forget(id)).catch(() => {});
  seen.clear();
  conversation.clear();
  player.close();
  trouble('');
  byId('upload').hidden = true;
  byId('work').hidden = true;
  byId('another').hidden = true;
  byId('welcome').hidden = false;
  document.title = 'longvlm';
}

function trouble(sentence: string): void {
  byId('trouble').hidden = sentence === '';
  setText(byId('trouble'), sentence);
}

function nameOfUrl(url: string): string {
  if (!URL.canParse(url)) return url;
  const { pathname, host, protocol } = new URL(url);
  return protocol === 'data:' ? 'A video' : decodeURIComponent(pathname.split('/').pop() || host);
}

function showModel({ id }: Model): void {
  setText(byId('model'), id);
  byId('model-hint').hidden = id !== 'nano';
  setText(
    byId('model-hint'),
    'nano, the model in the box, knows a small world of coloured shapes. For recordings start longvlm serve --model smolvlm2-500m, or with another one.',
  );
}

async function begin(): Promise<void> {
  try {
    const model = await modelWithKey(api);
    showModel(model);
    await budget.use(model);
    byId('key-button').hidden = api.key === undefined;
    byId('welcome').hidden = opened !== undefined;
    trouble('');
  } catch (error) {
    trouble(sentenceOf(error));
    byId('welcome').hidden = false;
  }
}

listenForVideos(open);
byId('another').addEventListener('click', () => {
  close();
  byId('choose').focus();
});
byId('upload-cancel').addEventListener('click', () => opened?.uploading?.cancel());
byId('key-button').addEventListener('click', async () => {
  if (await askForKey(api, '', true)) await begin();
});
// What was uploaded is of no use to anyone once its page is gone.
addEventListener('pagehide', ({ persisted }) => {
  if (persisted || !opened?.uploading) return;
  const { id, cancel } = opened.uploading;
  id.then((file) => api.forget(file)).catch(() => {});
  cancel();
});
await begin();
