import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';

const script = new URL('../../../scripts/check-includes.mjs', import.meta.url);
const { wrongIncludes }: { wrongIncludes: (folder: string) => string[] } = await import(script.href);

describe('scripts/check-includes.mjs', () => {
  const folder = mkdtempSync(join(tmpdir(), 'longvlm-includes-'));
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** What is reported of C++ sources with these paths and texts. */
  function reported(files: Readonly<Record<string, string>>): string[] {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    return wrongIncludes(folder);
  }

  test('finds nothing wrong with the sources of the addon', () => {
    expect(wrongIncludes(fileURLToPath(new URL('../../../native', import.meta.url)))).toEqual([]);
  });

  test('lets includes point down the list, and into their own folder', () => {
    expect(
      reported({
        'addon.cc': '#include "bind/bindings.h"\n#include "napi/napi_setup.h"\n',
        'bind/merge.cc':
          '#include <vector>\n#include "bind/guard.h"\n#include "llama/abi.h"\n#include "core/merge.h"\n',
        'llama/abi.h': '#include "napi/napi_setup.h"\n',
        'napi/napi_setup.h': '#include <napi.h>\n',
        'core/merge.cc': '#include "core/merge.h"\n#include "kernels/dispatch.h"\n#include "longvlm_cuda.h"\n',
        'kernels/sum_avx2.cc': '#include <immintrin.h>\n#include "kernels/sum.h"\n',
      }),
    ).toEqual([]);
  });

  test.each([
    ['llama/abi.h', '#include "bind/napi_setup.h"', 'llama/abi.h includes bind/napi_setup.h, which points up: bind/'],
    ['napi/napi_setup.h', '#include "llama/abi.h"', 'napi/napi_setup.h includes llama/abi.h, which points up'],
    ['core/merge.cc', '#include "napi/napi_setup.h"', 'core/merge.cc includes napi/napi_setup.h, which points up'],
    ['core/merge.cc', '#include <bind/guard.h>', 'core/merge.cc includes bind/guard.h, which points up'],
    ['kernels/sum.h', '  #  include "core/tensor.h"', 'kernels/sum.h includes core/tensor.h, which points up'],
    ['core/merge.cc', '#include "kernels/sum.h"', 'core/merge.cc includes kernels/sum.h, though the kernels are'],
    ['bind/merge.cc', '#include "kernels/dispatch.h"', 'bind/merge.cc includes kernels/dispatch.h, though'],
    ['bind/guard.h', '#include <napi.h>', 'bind/guard.h includes napi.h, which only napi/napi_setup.h may'],
    ['bind/guard.h', '#include "../core/error.h"', 'bind/guard.h includes ../core/error.h, which is in no folder'],
    ['bind/guard.cc', '#include "guard.h"', 'bind/guard.cc includes guard.h, which is in no folder of native'],
  ])('reports %s with %s', (path, text, message) => {
    expect(reported({ [path]: `#include <string>\n${text}\n` })).toEqual([expect.stringContaining(message)]);
  });

  test('reports a folder that has no place in the order', () => {
    expect(reported({ 'extra/tool.h': '' })).toEqual([
      'extra/tool.h is in a folder without a place in the order: bind, llama, ort, napi, core, kernels',
    ]);
  });
});
