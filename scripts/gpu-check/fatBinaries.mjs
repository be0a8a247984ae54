// The machine code of several GPU architectures that nvcc puts into one library.

const magic = Buffer.from([0x50, 0xed, 0x55, 0xba]);

/**
 * Zeroes, in place, the machine code of all architectures but one, so that the library packs small. It runs on that one as
 * before.
 *
 * A fat binary is: uint32 magic, uint16 version 1, uint16 bytes of this header (16), uint64 bytes of what follows; then
 * entries of uint16 kind, uint16 version, uint32 bytes of their header, uint64 bytes of content, ... and at 28 uint32
 * architecture.
 * @param library the bytes of a library
 * @param architecture compute capability without the point: 90
 * @returns how many bytes of the architecture were found
 */
export function keepArchitecture(library, architecture) {
  let kept = 0;
  for (let at = library.indexOf(magic); at >= 0; at = library.indexOf(magic, at + 4)) {
    const [version, header] = [library.readUInt16LE(at + 4), library.readUInt16LE(at + 6)];
    const end = at + header + Number(library.readBigUInt64LE(at + 8));
    if (version !== 1 || header !== 16 || end > library.length) continue;
    for (let entry = at + header; entry + 32 <= end; ) {
      const content = entry + library.readUInt32LE(entry + 4);
      const next = content + Number(library.readBigUInt64LE(entry + 8));
      if (content === entry || next > end) break;
      if (library.readUInt32LE(entry + 28) === architecture) kept += next - content;
      else library.fill(0, content, next);
      entry = next;
    }
  }
  if (kept === 0) throw new Error(`The library has no machine code for compute capability ${architecture / 10}`);
  return kept;
}
