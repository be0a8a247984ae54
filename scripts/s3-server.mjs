// A small S3-compatible server in memory, for tests and demo-cluster.mjs. It checks each signature (AWS Signature Version 4) and the
// hash of each body, as https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html says.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

/** The keys that it knows, as its clients take them from the environment. */
export const keys = { AWS_ACCESS_KEY_ID: 'A-KEY-OF-TESTS', AWS_SECRET_ACCESS_KEY: 'its/secret+of=tests' };

const sha256 = (data) => createHash('sha256').update(data).digest('hex');
const hmac = (key, data) => createHmac('sha256', key).update(data).digest();
const encoded = (text) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (each) => `%${each.charCodeAt(0).toString(16).toUpperCase()}`);

/**
 * The signature that a request has to have.
 * @param request method, url (path and query) and headers, as Node gives them
 * @param scope date, region and the names of the signed headers
 */
export function signatureOf({ method, url, headers }, { date, region, signedHeaders }, secret) {
  const { pathname, searchParams } = new URL(url, 'http://host');
  const query = [...searchParams].map((pair) => pair.map(encoded).join('=')).sort();
  const lines = signedHeaders.map((name) => `${name}:${String(headers[name] ?? '').trim()}\n`);
  const canonical = [
    ...[method, pathname, query.join('&'), lines.join('')],
    ...[signedHeaders.join(';'), headers['x-amz-content-sha256']],
  ].join('\n');
  const scope = `${date}/${region}/s3/aws4_request`;
  const toSign = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, sha256(canonical)].join('\n');
  const key = [date, region, 's3', 'aws4_request'].reduce(hmac, `AWS4${secret}`);
  return hmac(key, toSign).toString('hex');
}

class Refused extends Error {
  constructor(status, code) {
    super(code);
    this.status = status;
  }
}

function check(request, body) {
  const { headers } = request;
  const pattern =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([\w-]+)\/s3\/aws4_request, ?SignedHeaders=([\w;-]+), ?Signature=([0-9a-f]{64})$/;
  const [, id, date, region, names, given] = pattern.exec(headers.authorization ?? '') ?? [];
  if (given === undefined) throw new Refused(403, 'AccessDenied');
  if (id !== keys.AWS_ACCESS_KEY_ID) throw new Refused(403, 'InvalidAccessKeyId');
  const signedHeaders = names.split(';');
  // All of these have to be signed.
  const due = ['host', ...Object.keys(headers).filter((name) => name.startsWith('x-amz-'))];
  const signature = signatureOf(request, { date, region, signedHeaders }, keys.AWS_SECRET_ACCESS_KEY);
  const isSigned = due.every((name) => signedHeaders.includes(name));
  if (!isSigned || !timingSafeEqual(Buffer.from(signature), Buffer.from(given)))
    throw new Refused(403, 'SignatureDoesNotMatch');
  if (headers['x-amz-content-sha256'] !== sha256(body)) throw new Refused(400, 'XAmzContentSHA256Mismatch');
}

/**
 * Starts one, whose buckets are empty.
 * @param port one that is free by default
 * @returns its URL, what closes it, and its objects: for each bucket those by their keys, with their bytes and their own headers
 */
export async function startS3(buckets, port = 0) {
  const objects = new Map(buckets.map((name) => [name, new Map()]));
  const answer = async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    check(request, body);
    const { pathname } = new URL(request.url, 'http://host');
    const [, name, key] = /^\/([^/]+)\/(.*)$/s.exec(decodeURIComponent(pathname)) ?? [];
    const bucket = objects.get(name);
    if (bucket === undefined) throw new Refused(404, 'NoSuchBucket');
    if (request.method === 'PUT' && key !== '') {
      if (request.headers['content-length'] === undefined) throw new Refused(411, 'MissingContentLength');
      const own = Object.entries(request.headers).filter(([each]) => each.startsWith('x-amz-meta-'));
      bucket.set(key, { body, headers: Object.fromEntries(own) });
      return response.end();
    }
    if (request.method !== 'GET') throw new Refused(405, 'MethodNotAllowed');
    if (key === '') return response.end('<?xml version="1.0"?><ListBucketResult></ListBucketResult>');
    const found = bucket.get(key);
    if (found === undefined) throw new Refused(404, 'NoSuchKey');
    response.writeHead(200, { ...found.headers, 'content-length': found.body.length });
    response.end(found.body);
  };
  const server = createServer((request, response) => {
    answer(request, response).catch(({ status = 500, message }) => {
      response.writeHead(status, { 'content-type': 'application/xml' });
      response.end(`<?xml version="1.0"?><Error><Code>${message}</Code></Error>`);
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const { port: listening } = server.address();
  const close = async () => {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  };
  return { url: `http://127.0.0.1:${listening}`, port: listening, objects, close };
}
