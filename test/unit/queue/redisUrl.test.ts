import { expect, test } from 'vitest';
import { addressName, readRedisUrl } from '../../../dist/queue/redisUrl.js';

test.each([
  ['redis://localhost', { host: 'localhost', port: 6379, db: 0 }],
  ['valkey://10.0.0.5:7000/3', { host: '10.0.0.5', port: 7000, db: 3 }],
  [
    'rediss://ann:p%40ss%3A@queue.example.org/',
    { host: 'queue.example.org', port: 6379, db: 0, username: 'ann', password: 'p@ss:', tls: {} },
  ],
  ['redis://:secret@[::1]:6380', { host: '::1', port: 6380, db: 0, password: 'secret' }],
])('%s is read', (url, expected) => {
  expect(readRedisUrl(url)).toEqual(expected);
});

test.each([
  ['', /of type string/],
  ['localhost:6379', /redis:\/\/host:6379/],
  ['http://localhost', /'http:\/\/localhost'/],
  ['redis://', /'redis:\/\/'/],
  ['redis://host/x', /'redis:\/\/host\/x'/],
  ['redis://host?family=6', /family/],
  ['redis://ann:p%@host', /redis:\/\/\.\.\.@host/],
])('%s is refused', (url, message) => {
  expect(() => readRedisUrl(url)).toThrow(
    expect.objectContaining({ name: 'RangeError', message: expect.stringMatching(message) }),
  );
});

test('a password is in no message', () => {
  const url = 'redis://ann:secret@host/no-number';
  expect(() => readRedisUrl(url)).toThrow(expect.objectContaining({ message: expect.not.stringContaining('secret') }));
  expect(addressName(readRedisUrl('rediss://ann:secret@host'))).toBe('rediss://host:6379');
});
