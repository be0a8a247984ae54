// Where objects of an S3-compatible store are, and the keys that it is asked with.
import { LongVLMError } from '../base/errors.js';
import { wrongValue } from '../base/validate.js';

/** A place in a bucket. */
export type S3Address = {
  readonly bucket: string;
  /** What the names of its objects begin with. */
  readonly prefix: string;
  /** The server, in words. */
  readonly server: string;
  /** The bucket; ends with a slash. */
  readonly url: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
};

type Environment = Readonly<Record<string, string | undefined>>;

/** Whether a text names a place in a store, and no folder. */
export function isS3(text: string): boolean {
  return /^s3:/i.test(text);
}

/**
 * Reads `s3://BUCKET[/PREFIX]`; keys, region and, where there is no `endpoint`, the server come from the environment, by the names
 * that AWS's own tools have.
 * @throws RangeError for what is no such address, without what is secret; LongVLMError `ERR_LONGVLM_STORE` where there are no keys
 */
export function readS3Address(text: string, endpoint?: string, env: Environment = process.env): S3Address {
  const [, bucket, rest = ''] = /^s3:\/\/([a-z0-9][\w.-]{1,61}[a-z0-9])(?:\/([\w./-]*))?$/i.exec(text) ?? [];
  const segments = rest.replace(/\/$/, '').split('/');
  const isPlain = rest === '' || segments.every((each) => !/^\.{0,2}$/.test(each));
  if (bucket === undefined || !isPlain || rest.length > 800)
    return wrongValue(
      'features',
      's3://BUCKET or s3://BUCKET/PREFIX, of letters, digits and . _ - /',
      text.replace(/\/\/.*@/s, '//...@'),
    );
  const region = env.AWS_REGION || env.AWS_DEFAULT_REGION || 'us-east-1';
  const given = endpoint ?? (env.AWS_ENDPOINT_URL_S3 || env.AWS_ENDPOINT_URL);
  const where = given === undefined ? ofAmazon(bucket, region) : ofServer(bucket, given);
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_SESSION_TOKEN: token } = env;
  if (!accessKeyId || !secretAccessKey)
    throw new LongVLMError(
      'ERR_LONGVLM_STORE',
      `There are no keys for ${text}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment.`,
    );
  return {
    ...{ bucket, prefix: rest === '' ? '' : `${segments.join('/')}/`, region, accessKeyId, secretAccessKey },
    ...where,
    ...(token && { sessionToken: token }),
  };
}

/** Certificates of Amazon's are for names with one more label. */
function ofAmazon(bucket: string, region: string) {
  const host = `s3.${region}.amazonaws.com`;
  const url = bucket.includes('.') ? `https://${host}/${bucket}/` : `https://${bucket}.${host}/`;
  return { server: `https://${host}`, url };
}

/** Any other server knows its buckets by paths. */
function ofServer(bucket: string, endpoint: string) {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  const isPlain = url && url.username === '' && url.password === '' && url.search === '' && url.hash === '';
  if (!isPlain || !/^https?:$/.test(url.protocol))
    return wrongValue(
      'the endpoint of the features',
      'URL of an S3-compatible server, such as https://minio.example.org:9000,',
      endpoint.replace(/\/\/.*@/s, '//...@'),
    );
  const server = url.href.replace(/\/$/, '');
  return { server, url: `${server}/${bucket}/` };
}
