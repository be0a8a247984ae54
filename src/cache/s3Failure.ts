// What an S3-compatible store answers instead of an object, in sentences.
import { connectionReason } from '../base/connectionReason.js';
import { LongVLMError } from '../base/errors.js';
import { printable } from '../base/printable.js';
import type { S3Address } from './s3Address.js';

/** The store cannot be used. */
export class S3Failure extends LongVLMError {
  constructor(
    message: string,
    /** Whether the same request may succeed soon. */
    readonly mayPass: boolean,
    cause?: unknown,
  ) {
    super('ERR_LONGVLM_STORE', message, { cause });
  }
}

/** The error of a response that is none of an object. */
export function refusal({ server, bucket, region }: S3Address, response: Response, body: string): S3Failure {
  const { status, headers } = response;
  const code = printable(/<Code>([^<]{1,100})<\/Code>/.exec(body)?.[1] ?? '');
  const told = code === '' ? `status ${status}` : code;
  const lasting = (message: string) => new S3Failure(message, false);
  const other = headers.get('x-amz-bucket-region') ?? /<Region>([\w-]{1,40})<\/Region>/.exec(body)?.[1];
  if (code === 'NoSuchBucket')
    return lasting(`There is no bucket '${bucket}' at ${server}. Make it first, or name another.`);
  if (other != null && other !== region && status >= 300 && status < 500)
    return lasting(`The bucket '${bucket}' is in the region ${other}, and not in ${region}. Set AWS_REGION=${other}.`);
  if (/^(InvalidAccessKeyId|SignatureDoesNotMatch|AuthorizationHeaderMalformed)$/.test(code))
    return lasting(
      `${server} does not know the keys in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (${code}). Set those of a user that it knows.`,
    );
  if (/^(ExpiredToken|InvalidToken|TokenRefreshRequired)$/.test(code))
    return lasting(`The keys for ${server} are no longer valid (${code}). Set new ones, with their AWS_SESSION_TOKEN.`);
  if (code === 'RequestTimeTooSkewed')
    return lasting(`The clock of this machine is not that of ${server} (${code}). Set it right.`);
  if (status === 403 || status === 401)
    return lasting(
      `${server} does not allow these keys to use the bucket '${bucket}' (${told}). They need s3:ListBucket, s3:GetObject and s3:PutObject.`,
    );
  if (status >= 300 && status < 400)
    return lasting(`${server} sends requests elsewhere (${told}). Give the address that they belong to.`);
  const mayPass = status >= 500 || status === 429 || status === 408 || /^(RequestTimeout|SlowDown)$/.test(code);
  return new S3Failure(`${server} failed (${told}). Its log may say why.`, mayPass);
}

/** The error of a connection that failed. */
export function unreachable({ server }: S3Address, error: unknown, seconds: number): S3Failure {
  const reason = connectionReason(error, seconds);
  return new S3Failure(
    `The store of features at ${server} cannot be reached: ${reason}. Start it, or give the address of another.`,
    true,
    error,
  );
}

/** The error of a server that is silent. */
export function silent({ server }: S3Address, seconds: number): S3Failure {
  return new S3Failure(
    `The store of features at ${server} was silent for ${seconds} s. See whether it is overloaded, or give the address of another.`,
    false,
  );
}
