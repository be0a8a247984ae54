"""Makes quantized.gguf: metadata of every kind, and blocks of every type that we dequantise, with gguf-py's values.

python scripts/make-gguf-fixture.py test/fixtures/gguf/quantized.gguf
"""

import sys

import gguf
import numpy
from gguf.quants import dequantize, quantize

Type = gguf.GGMLQuantizationType
# gguf-py cannot write these types, but any bytes with finite scales are valid blocks. Offsets of the scales in a block:
SCALES = {Type.Q4_K: (0, 2), Type.Q5_K: (0, 2), Type.Q6_K: (208,)}
WRITTEN = (Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0)
ROWS, COLUMNS = 3, 512

generator = numpy.random.default_rng(0)


def any_blocks(kind: Type) -> numpy.ndarray:
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = generator.integers(0, 256, (ROWS * COLUMNS // elements, size), dtype=numpy.uint8)
    for place in SCALES[kind]:
        blocks[:, place : place + 2] = (
            generator.standard_normal((len(blocks), 1)).astype(numpy.float16).view(numpy.uint8)
        )
    return blocks.reshape(ROWS, -1)


writer = gguf.GGUFWriter(sys.argv[1], "none")
writer.add_string("a.text", "straße")
writer.add_uint64("a.large", 2**60)
writer.add_int8("a.small", -3)
writer.add_bool("a.yes", True)
writer.add_array("a.list", [1, 2, 3])
writer.add_array("a.words", ["x", "yz"])
writer.add_float64("a.double", 0.1)
writer.add_tensor("plain", numpy.arange(6, dtype=numpy.float32).reshape(2, 3))
for kind in (*WRITTEN, *SCALES):
    values = generator.standard_normal((ROWS, COLUMNS)).astype(numpy.float32)
    blocks = quantize(values, kind) if kind in WRITTEN else any_blocks(kind)
    writer.add_tensor(kind.name, blocks, raw_dtype=kind)
    writer.add_tensor(f"expected.{kind.name}", dequantize(blocks, kind).astype(numpy.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
