// Files in an S3-compatible store, which machines share. Keys are hashes of what a file is made of, so equal keys are equal files, and
// an object that is written twice is the same.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { linkedController } from '../base/abort.js';
import { LongVLMError } from '../base/errors.js';
import { fileError } from '../base/fileError.js';
import { hashFile } from '../base/hash.js';
import { wait } from '../base/wait.js';
import { writeWholeFile } from '../base/wholeFile.js';
import { readS3Address, type S3Address } from './s3Address.js';
import { refusal, S3Failure, silent, unreachable } from './s3Failure.js';

/** Options of {@link S3Store.open}. */
export type S3StoreOptions = {
  /** The server. Defaults to `$AWS_ENDPOINT_URL_S3`, else `$AWS_ENDPOINT_URL`, else Amazon's. */
  endpoint?: string | undefined;
  /** Called with a line when the store cannot be used, and when it can be again. */
  onLog?: ((line: string) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** A server that says nothing for so long is taken for dead. Defaults to 10,000. @internal */
  silentMs?: number | undefined;
  /** A store that could not be used is left alone for so long. Defaults to 30,000. @internal */
  awayMs?: number | undefined;
};

type Signer = typeof import('aws4fetch').AwsV4Signer;

/** One try of a request. */
type Try = {
  readonly signal: AbortSignal;
  /** Called with each sign of life. */
  readonly renew: () => void;
};

const mostTries = 3;
const firstWaitMs = 200;
/** Errors of servers are short. */
const mostErrorBytes = 65_536;
/** Where the hash of an object stands. */
const hashHeader = 'x-amz-meta-sha256';
const emptyHash = createHash('sha256').digest('hex');

/** A place in a bucket that answered once. While it is away, nothing is found in it, and nothing kept. */
export class S3Store {
  readonly #signer: Signer;
  readonly #address: S3Address;
  readonly #name: string;
  readonly #onLog: (line: string) => void;
  readonly #silentMs: number;
  readonly #awayMs: number;
  #isAway = false;
  #nextTry = 0;

  private constructor(Signer: Signer, address: S3Address, options: S3StoreOptions) {
    this.#signer = Signer;
    this.#address = address;
    this.#name = `s3://${address.bucket}/${address.prefix}`;
    this.#onLog = options.onLog ?? (() => {});
    this.#silentMs = options.silentMs ?? 10_000;
    this.#awayMs = options.awayMs ?? 30_000;
  }

  /**
   * @param place as {@link readS3Address} takes it
   * @throws RangeError for what is no such place; LongVLMError `ERR_LONGVLM_STORE` when the store cannot be reached, does not know the
   *   keys or the bucket, or aws4fetch is not installed; `signal.reason`
   */
  static async open(place: string, options: S3StoreOptions = {}): Promise<S3Store> {
    const address = readS3Address(place, options.endpoint);
    const store = new S3Store(await loadSigner(), address, options);
    await store.#check(options.signal);
    return store;
  }

  /**
   * Brings an object into a file, which appears whole or not at all.
   * @returns whether it is there: not for one that is not in the store, or that is not what was put there
   * @throws `signal.reason`
   */
  async read(key: string, file: string, signal: AbortSignal): Promise<boolean> {
    return (await this.#whileThere(signal, () => this.#tried(signal, (once) => this.#get(key, file, once)))) === true;
  }

  /** Puts a file into the store. @throws `signal.reason` */
  async write(key: string, file: string, signal: AbortSignal): Promise<void> {
    await this.#whileThere(signal, async () => {
      const hash = await hashFile(file, signal);
      const { size } = await stat(file).catch((error: unknown) => {
        throw fileError(file, error);
      });
      await this.#tried(signal, (once) => this.#put(key, file, size, hash, once));
    });
  }

  async #check(signal: AbortSignal | undefined): Promise<void> {
    const query = new URLSearchParams({ 'max-keys': '1', prefix: this.#address.prefix });
    await this.#tried(signal, async (once) => {
      const response = await this.#ask('GET', `?${query}`, once);
      const body = await bodyOf(response, once);
      if (!response.ok) throw refusal(this.#address, response, body);
    });
  }

  async #get(key: string, file: string, once: Try): Promise<boolean> {
    const response = await this.#ask('GET', this.#address.prefix + key, once);
    if (!response.ok) {
      const body = await bodyOf(response, once);
      if (response.status === 404 && !body.includes('<Code>NoSuchBucket<')) return false;
      throw refusal(this.#address, response, body);
    }
    const size = Number(response.headers.get('content-length') ?? Number.NaN);
    const hash = createHash('sha256');
    let read = 0;
    try {
      await writeWholeFile(file, async (handle) => {
        for await (const piece of response.body!) {
          once.renew();
          read += piece.length;
          if (read > size) break;
          hash.update(piece);
          await handle.writeFile(piece);
        }
        if (read !== size || hash.digest('hex') !== response.headers.get(hashHeader)) throw new Damaged();
      });
      return true;
    } catch (error) {
      if (error instanceof Damaged) {
        this.#onLog(`${this.#name}${key} is damaged: it is made anew`);
        return false;
      }
      throw error;
    }
  }

  async #put(key: string, file: string, size: number, hash: string, once: Try): Promise<void> {
    async function* body() {
      for await (const piece of createReadStream(file, { highWaterMark: 1 << 18, signal: once.signal })) {
        once.renew();
        yield piece as Uint8Array;
      }
    }
    const headers = { 'x-amz-content-sha256': hash, [hashHeader]: hash };
    const response = await this.#ask('PUT', this.#address.prefix + key, once, headers, { size, pieces: body() });
    const answer = await bodyOf(response, once);
    if (!response.ok) throw refusal(this.#address, response, answer);
  }

  async #ask(
    method: string,
    path: string,
    { signal, renew }: Try,
    headers: Record<string, string> = { 'x-amz-content-sha256': emptyHash },
    body?: { readonly size: number; readonly pieces: AsyncIterable<Uint8Array> },
  ): Promise<Response> {
    const { url, region, accessKeyId, secretAccessKey, sessionToken } = this.#address;
    const keys = { accessKeyId, secretAccessKey, ...(sessionToken !== undefined && { sessionToken }) };
    const signed = await new this.#signer({ method, url: url + path, headers, service: 's3', region, ...keys }).sign();
    // Servers in between change it, so it is not signed.
    signed.headers.set('accept-encoding', 'identity');
    if (body) signed.headers.set('content-length', String(body.size));
    const response = await fetch(signed.url, {
      ...{ method, headers: signed.headers, redirect: 'manual', signal },
      ...(body && { body: body.pieces, duplex: 'half' }),
    });
    renew();
    return response;
  }

  /** @throws S3Failure; what concerns the file; `signal.reason` */
  async #tried<T>(signal: AbortSignal | undefined, attempt: (once: Try) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const { controller, unlink } = linkedController(signal);
      const seconds = this.#silentMs / 1000;
      const timer = setTimeout(() => controller.abort(silent(this.#address, seconds)), this.#silentMs);
      try {
        return await attempt({ signal: controller.signal, renew: () => timer.refresh() });
      } catch (error) {
        signal?.throwIfAborted();
        if (isOfFile(error)) throw error;
        const { reason } = controller.signal;
        const failure = [error, reason].find((each) => each instanceof S3Failure) as S3Failure | undefined;
        const told = failure ?? unreachable(this.#address, error, seconds);
        if (!told.mayPass || tries >= mostTries) throw told;
      } finally {
        clearTimeout(timer);
        unlink();
      }
      await wait(firstWaitMs * 2 ** (tries - 1) * (0.5 + Math.random()), signal);
    }
  }

  /** What `work` gives; undefined where the store cannot be used, or the file neither read nor written. */
  async #whileThere<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T | undefined> {
    signal.throwIfAborted();
    if (performance.now() < this.#nextTry) return undefined;
    try {
      const value = await work();
      if (this.#isAway) this.#onLog(`${this.#name} is used again`);
      this.#isAway = false;
      return value;
    } catch (error) {
      signal.throwIfAborted();
      if (isOfFile(error)) return undefined;
      this.#nextTry = performance.now() + this.#awayMs;
      if (!this.#isAway) this.#onLog(`${(error as Error).message} Until then features are kept on this machine alone.`);
      this.#isAway = true;
      return undefined;
    }
  }
}

/** What came is not what was put there. */
class Damaged extends Error {}

/** Whether an error is of the file on this machine. */
function isOfFile(error: unknown): boolean {
  return error instanceof LongVLMError && error.code === 'ERR_LONGVLM_FILE';
}

/** The beginning of a body; the rest is read and dropped, so that the connection can be used again. */
async function bodyOf({ body }: Response, { renew }: Try): Promise<string> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of body ?? []) {
    renew();
    size += piece.length;
    if (size > mostErrorBytes) break;
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

/** Only who uses a store needs its package. */
async function loadSigner(): Promise<Signer> {
  try {
    return (await import('aws4fetch')).AwsV4Signer;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new LongVLMError(
      'ERR_LONGVLM_STORE',
      'Features in an S3-compatible store need aws4fetch, which is not installed. Run: npm install aws4fetch@1',
      { cause: error },
    );
  }
}
