// How a video is given: dropped, chosen, or named.
import { byId } from './dom.js';

/** A video that someone gave. */
export type Given = { readonly file: File } | { readonly url: string };

/** @param onGiven called with each video; only files while another is open, as they can be dropped anywhere */
export function listenForVideos(onGiven: (given: Given) => void): void {
  const file = byId<HTMLInputElement>('file');
  byId('choose').addEventListener('click', () => file.click());
  file.addEventListener('change', () => {
    const chosen = file.files?.[0];
    // The same file can be chosen again.
    file.value = '';
    if (chosen) onGiven({ file: chosen });
  });
  byId('url-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const url = byId<HTMLInputElement>('url').value.trim();
    const wrong = whyNot(url);
    byId('url-error').textContent = wrong ?? '';
    byId('url').setAttribute('aria-invalid', String(wrong !== undefined));
    if (wrong === undefined) onGiven({ url });
    else byId('url').focus();
  });
  listenForDrops(onGiven);
}

function whyNot(url: string): string | undefined {
  if (url === '') return 'Paste the address of a video first.';
  if (/^file-[\w-]+$/.test(url)) return undefined;
  const known = URL.canParse(url) && ['http:', 'https:', 'file:', 'data:'].includes(new URL(url).protocol);
  return known ? undefined : 'This is no address. It begins with https://';
}

function listenForDrops(onGiven: (given: Given) => void): void {
  const cover = byId('dropping');
  const hasFile = ({ dataTransfer }: DragEvent) => dataTransfer?.types.includes('Files') === true;
  // Each element that is entered and left on the way tells it.
  let depth = 0;
  const show = (change: number) => {
    depth = Math.max(0, depth + change);
    cover.hidden = depth === 0;
  };
  document.addEventListener('dragenter', (event) => hasFile(event) && show(1));
  document.addEventListener('dragleave', (event) => hasFile(event) && show(-1));
  document.addEventListener('dragover', (event) => hasFile(event) && event.preventDefault());
  document.addEventListener('drop', (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    show(-depth);
    const dropped = event.dataTransfer?.files[0];
    if (dropped) onGiven({ file: dropped });
  });
}
