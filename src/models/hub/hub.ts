// Downloads files of models from the Hugging Face hub, or from any server with the same interface.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrorOf, LongVLMError, messageOf, reasonOf } from '../../base/errors.js';
import type { Progress } from '../../base/progress.js';
import { download } from './download.js';
import { readListing } from './listing.js';
import { secondsOf, withPatience } from './patience.js';
import { CachedRepo, hubHome, isWithinRepo } from './repo.js';

/** A model's repository at a branch, tag or commit. */
export type Repo = { readonly name: string; readonly revision: string };

/** Progress of a download: stage `download`, unit `bytes`, and the file's name in its repository. */
export type HubProgress = Progress;

/** Options of {@link fetchFile} and {@link listFiles}. */
export type HubOptions = {
  /** Uses the cache only, without any request. Defaults to whether `HF_HUB_OFFLINE` is set. */
  readonly offline?: boolean | undefined;
  readonly onProgress?: ((progress: HubProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
};

const checkEndpoint = 'Check HF_ENDPOINT: it must be a Hugging Face hub or a mirror of one.';

/** The largest repositories have lists of a few MiB. */
const maxAnswerBytes = 32 * 2 ** 20;
const bytesPerPatience = 2 ** 18;

const isCommit = (revision: string) => /^[0-9a-f]{40}$/.test(revision);

/**
 * Returns a file of a repository from the cache, and downloads it into the cache if it is missing. If the hub cannot be reached,
 * falls back to the last known commit of the branch.
 *
 * @returns its path in the cache
 * @throws LongVLMError `ERR_LONGVLM_HUB` when the file is not in the cache and cannot be downloaded, `ERR_LONGVLM_FILE` when the
 * cache cannot be written; `signal.reason`
 */
export async function fetchFile(repo: Repo, file: string, options: HubOptions = {}): Promise<string> {
  // Names may come from a list of files or an index on the hub.
  if (!isWithinRepo(file))
    throw new LongVLMError(
      'ERR_LONGVLM_HUB',
      `${repo.name} names a file ${JSON.stringify(file)}, which is none of its own. Do not use it, or tell its owner.`,
    );
  const cache = new CachedRepo(repo.name);
  const known = await cache.commitOf(repo.revision);
  const kept = known === undefined ? undefined : await inCache(cache, known, file);
  if (kept !== undefined && (isCommit(repo.revision) || isOffline(options))) return kept;
  if (isOffline(options)) throw notInCache(repo, file);
  let found: RemoteFile;
  try {
    found = await describe(repo, file, options.signal);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (kept !== undefined && error instanceof Unreachable) return kept;
    throw error;
  }
  const { commit, etag, size } = found;
  const there = await inCache(cache, commit, file);
  // What is there can be used, even if nothing can be written.
  await cache.saveCommit(repo.revision, commit).catch((error: unknown) => {
    if (there === undefined) throw error;
  });
  if (there !== undefined) return there;
  const { onProgress, signal } = options;
  const destination = {
    isThere: () => cache.isThere(commit, file),
    place: () => cache.link(commit, file, etag),
  };
  await download(
    { url: found.url, headers: await credentials(), path: cache.blob(etag), size, etag, name: nameOf(repo, file) },
    destination,
    {
      ...(onProgress && {
        onProgress: (bytes: number) =>
          onProgress({ stage: 'download', done: bytes, total: size, unit: 'bytes', name: file }),
      }),
      ...(signal && { signal }),
    },
  );
  return cache.file(commit, file);
}

/**
 * Names of the files of a repository; offline, of the files in the cache.
 * @throws as {@link fetchFile}
 */
export async function listFiles(repo: Repo, options: HubOptions = {}): Promise<string[]> {
  const cache = new CachedRepo(repo.name);
  const fromCache = async () => {
    const commit = await cache.commitOf(repo.revision);
    return commit === undefined ? [] : cache.files(commit);
  };
  if (isOffline(options)) {
    const files = await fromCache();
    if (files.length === 0) throw notInCache(repo);
    return files;
  }
  const url = `${endpoint()}/api/models/${repo.name}/revision/${encodeURIComponent(repo.revision)}`;
  try {
    return await namesIn((await request(url, 'GET', repo, undefined, options.signal)).body, repo);
  } catch (error) {
    options.signal?.throwIfAborted();
    const files = error instanceof Unreachable ? await fromCache() : [];
    if (files.length > 0) return files;
    throw error;
  }
}

/** The names in a list of files. @throws LongVLMError `ERR_LONGVLM_HUB` for anything else */
async function namesIn(body: Uint8Array, repo: Repo): Promise<string[]> {
  try {
    return await readListing(body);
  } catch (error) {
    const cause = `${isErrorOf(error, 'SyntaxError') ? 'what it answers is no JSON object, ' : ''}${messageOf(error)}`;
    throw new LongVLMError(
      'ERR_LONGVLM_HUB',
      `${endpoint()} does not list the files of ${repo.name}: ${cause}. ${checkEndpoint}`,
      { cause: error },
    );
  }
}

type RemoteFile = { readonly url: string; readonly commit: string; readonly etag: string; readonly size: number };

/** Metadata of a file, from the hub's response before it redirects to the server with the content. */
async function describe(repo: Repo, file: string, signal: AbortSignal | undefined): Promise<RemoteFile> {
  const path = file.split('/').map(encodeURIComponent).join('/');
  const url = `${endpoint()}/${repo.name}/resolve/${encodeURIComponent(repo.revision)}/${path}`;
  const { headers } = await request(url, 'HEAD', repo, file, signal);
  const commit = headers.get('x-repo-commit') ?? '';
  const etag = (headers.get('x-linked-etag') ?? headers.get('etag') ?? '').replace(/^(W\/)?"|"$/g, '');
  const size = Number(headers.get('x-linked-size') ?? headers.get('content-length') ?? Number.NaN);
  // The hash becomes a file name in the cache, so it must be safe.
  if (!isCommit(commit) || !/^[\w-]+$/.test(etag) || !Number.isSafeInteger(size) || size < 0)
    throw new LongVLMError(
      'ERR_LONGVLM_HUB',
      `${endpoint()} does not tell commit, hash and size of ${nameOf(repo, file)}. ${checkEndpoint}`,
    );
  return { url: `${endpoint()}/${repo.name}/resolve/${commit}/${path}`, commit, etag, size };
}

/** The hub cannot be reached (as opposed to a refusal by the hub). */
class Unreachable extends LongVLMError {}

type Answer = Pick<Response, 'status' | 'statusText' | 'headers'> & { readonly body: Uint8Array };

async function request(
  url: string,
  method: 'GET' | 'HEAD',
  repo: Repo,
  file: string | undefined,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  const headers = { ...(await credentials()), 'Accept-Encoding': 'identity' };
  let answer: Answer;
  try {
    answer = await withPatience(secondsOf('HF_HUB_ETAG_TIMEOUT'), signal, (limited, alive) =>
      followWithin(url, { method, headers, redirect: 'manual', signal: limited }, alive),
    );
  } catch (error) {
    signal?.throwIfAborted();
    throw new Unreachable(
      'ERR_LONGVLM_HUB',
      `${endpoint()} cannot be reached for ${nameOf(repo, file)}: ${reasonOf(error)}. Check the network, or use --offline for what is in the cache.`,
    );
  }
  if (answer.status >= 500)
    throw new Unreachable(
      'ERR_LONGVLM_HUB',
      `${endpoint()} says ${answer.status} for ${nameOf(repo, file)}. Try again later.`,
    );
  if (answer.status >= 400) throw refused(answer, repo, file);
  return answer;
}

/** Follows redirects within the hub (a renamed model), but not redirects to the content's storage. */
async function followWithin(url: string, init: RequestInit, alive: () => void): Promise<Answer> {
  for (let hops = 0; ; hops++) {
    const response = await fetch(url, init);
    const { status, statusText, headers } = response;
    const location = headers.get('location');
    if (status < 300 || status >= 400 || location === null || hops === 5)
      return { status, statusText, headers, body: await bodyOf(response, alive) };
    await response.body?.cancel();
    const target = new URL(location, url);
    if (target.origin !== new URL(url).origin) return { status, statusText, headers, body: new Uint8Array() };
    url = target.href;
  }
}

/** The body of an answer that holds names, not content. */
async function bodyOf(response: Response, alive: () => void): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    const before = Math.floor(bytes / bytesPerPatience);
    bytes += (chunk as Uint8Array).length;
    // A server that sends a byte now and then would be waited for without end.
    if (Math.floor(bytes / bytesPerPatience) > before) alive();
    if (bytes > maxAnswerBytes) throw new Error(`it answers with more than ${maxAnswerBytes / 2 ** 20} MiB`);
    chunks.push(chunk as Uint8Array);
  }
  return Buffer.concat(chunks);
}

function refused(answer: Answer, repo: Repo, file: string | undefined): LongVLMError {
  const { status, statusText, headers } = answer;
  const problem = headers.get('x-error-code');
  const name = nameOf(repo, file);
  const [cause, remedy] =
    problem === 'GatedRepo' || status === 403
      ? ['is gated', `Accept its terms at ${endpoint()}/${repo.name}, and set HF_TOKEN.`]
      : problem === 'EntryNotFound'
        ? ['does not exist', 'Check the name of the file.']
        : problem === 'RevisionNotFound'
          ? [`has no revision ${repo.revision}`, 'Check the name after @.']
          : status === 401 || problem === 'RepoNotFound'
            ? ['does not exist, or is private', 'Check the name, and set HF_TOKEN if it is private.']
            : status === 404
              ? ['does not exist', 'Check the name.']
              : [`is refused: ${status} ${statusText}`, 'Try again later.'];
  return new LongVLMError('ERR_LONGVLM_HUB', `${name} ${cause}. ${remedy}`);
}

async function inCache(cache: CachedRepo, commit: string, file: string): Promise<string | undefined> {
  return (await cache.isThere(commit, file)) ? cache.file(commit, file) : undefined;
}

function notInCache(repo: Repo, file?: string): LongVLMError {
  return new LongVLMError(
    'ERR_LONGVLM_HUB',
    `${nameOf(repo, file)} is not in the cache, and offline nothing is downloaded. Run it once without --offline (HF_HUB_OFFLINE).`,
  );
}

async function credentials(): Promise<Record<string, string>> {
  const { HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH } = process.env;
  const saved = () => readFile(HF_TOKEN_PATH || join(hubHome(), 'token'), 'utf8').catch(() => '');
  const token = (HF_TOKEN || HUGGING_FACE_HUB_TOKEN || (await saved())).trim();
  if (!/^[\x21-\x7e]*$/.test(token))
    throw new LongVLMError(
      'ERR_LONGVLM_HUB',
      `The token of the hub holds characters that no token has. Check HF_TOKEN, or ${HF_TOKEN_PATH || join(hubHome(), 'token')}.`,
    );
  return token === '' ? {} : { Authorization: `Bearer ${token}` };
}

/** @throws LongVLMError `ERR_LONGVLM_HUB` for what is no URL of a hub; its text is not repeated, as it may hold a password */
function endpoint(): string {
  const text = (process.env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '');
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    throw new LongVLMError(
      'ERR_LONGVLM_HUB',
      'HF_ENDPOINT is not the URL of a hub. Expected one such as https://huggingface.co, without a user and password.',
    );
  return text;
}

function isOffline({ offline }: HubOptions): boolean {
  return offline ?? /^(1|on|yes|true)$/i.test(process.env.HF_HUB_OFFLINE ?? '');
}

function nameOf({ name }: Repo, file?: string): string {
  return file === undefined ? name : `${name}/${file}`;
}
