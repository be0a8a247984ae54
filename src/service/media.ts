// The video that a request names, as the library takes it.
import { stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { realPathWithin } from '../base/root.js';
import type { PictureInput, VideoInput } from '../video/videoInput.js';
import { ApiError } from './apiError.js';
import type { MediaPart } from './conversation.js';
import type { FileStore } from './fileStore.js';

/** Where media may come from. */
export type MediaSources = {
  /** Real paths of the folders that `file:` URLs may lead to. */
  readonly folders: readonly string[];
  readonly files: Pick<FileStore, 'pathOf'>;
};

/** A video, and paths of this machine that messages about it must not show. */
export type NamedVideo = { readonly input: VideoInput; readonly paths: readonly string[] };

/** @throws ApiError for what may not be read */
export async function videoOf(media: readonly MediaPart[], sources: MediaSources): Promise<NamedVideo> {
  const inputs: PictureInput[] = [];
  for (const part of media) inputs.push(await inputOf(part, sources));
  const paths = inputs.filter((input) => typeof input === 'string');
  const [first] = inputs;
  return { input: inputs.length === 1 ? first! : { frames: inputs }, paths };
}

async function inputOf(part: MediaPart, sources: MediaSources): Promise<PictureInput> {
  if (part.type !== 'input_video') {
    const named = part.type === 'image_url' ? part.image_url : part.video_url;
    return ofUrl(typeof named === 'string' ? named : named.url, part.type, sources);
  }
  const given = part.input_video;
  if (typeof given === 'object' && 'url' in given) return ofUrl(given.url, part.type, sources);
  const data = typeof given === 'string' ? given : given.data;
  return data.startsWith('data:') ? ofUrl(data, part.type, sources) : bytesOf(data, part.type);
}

async function ofUrl(text: string, param: string, { folders, files }: MediaSources): Promise<PictureInput> {
  if (text.startsWith('data:')) return ofDataUrl(text, param);
  if (/^file-[\w-]+$/.test(text)) {
    const stored = files.pathOf(text);
    if (stored === undefined) throw new ApiError(404, 'There is no such file. Upload it again.', { param });
    return stored;
  }
  // The text may hold a password.
  if (!URL.canParse(text)) throw new ApiError(400, `Expected a valid URL for ${param}.`, { param });
  const url = new URL(text);
  if (url.protocol === 'http:' || url.protocol === 'https:') return url;
  if (url.protocol === 'file:') return ofFileUrl(url, param, folders);
  throw new ApiError(400, `Expected a URL of https:, http:, data: or file:, or an uploaded file, for ${param}.`, {
    param,
  });
}

/** Whether other files exist is nobody's business: all that cannot be given is refused in the same words. */
async function ofFileUrl(url: URL, param: string, folders: readonly string[]): Promise<string> {
  if (folders.length === 0)
    throw new ApiError(403, 'This service reads no files of its own machine: it allows no folder.', { param });
  for (const folder of folders)
    try {
      const real = await realPathWithin(folder, fileURLToPath(url));
      if ((await stat(real)).isFile()) return real;
    } catch {
      // Perhaps in the next one.
    }
  throw new ApiError(403, `The URL for ${param} names no file in a folder that this service allows.`, { param });
}

function ofDataUrl(text: string, param: string): Uint8Array {
  const comma = text.indexOf(',');
  if (comma < 0 || !/;\s*base64$/i.test(text.slice(0, comma)))
    throw new ApiError(400, `Expected data:TYPE;base64,BYTES for ${param}.`, { param });
  return bytesOf(text.slice(comma + 1), param);
}

function bytesOf(base64: string, param: string): Uint8Array {
  const bytes = Buffer.from(base64, 'base64');
  // Buffer leaves out what is no base64; what remains is no video then.
  if (bytes.length === 0) throw new ApiError(400, `Expected bytes in base64 for ${param}.`, { param });
  return bytes;
}
