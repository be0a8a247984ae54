// An app of Electron's: what libraries open lies beside the archive.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { onDisk } from '../../../dist/base/onDisk.js';

const folder = mkdtempSync(join(tmpdir(), 'longvlm-asar-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('a file of an archive is the one that is unpacked, where one is', () => {
  const unpacked = join(folder, 'app.asar.unpacked/node_modules/longvlm/models');
  mkdirSync(unpacked, { recursive: true });
  writeFileSync(join(unpacked, 'tower.onnx'), '');
  const inArchive = join(folder, 'app.asar/node_modules/longvlm/models');
  expect(onDisk(inArchive)).toBe(unpacked);
  expect(onDisk(join(inArchive, 'tower.onnx'))).toBe(join(unpacked, 'tower.onnx'));
  for (const path of [join(inArchive, 'other.onnx'), join(unpacked, 'tower.onnx'), folder, 'app.asarium/file'])
    expect(onDisk(path)).toBe(path);
});
