"""Makes allowed.pt, views.pt, legacy.pt and allowed.json in test/fixtures/pytorch: what weights_only=True takes.

Run with PyTorch 2.13: python scripts/make-pytorch-fixture.py
"""

import collections
import json
import pathlib

import torch
from torch import nn

folder = pathlib.Path(__file__).parent.parent / "test/fixtures/pytorch"
torch.manual_seed(5)


def beside() -> dict:
    """Everything that is no tensor, or none of ours, and must not keep the others from being read."""
    with_state = nn.Parameter(torch.randn(2, 3))
    with_state.tag = "kept"
    with_attribute = torch.randn(3)
    with_attribute.tag = [1, 2]
    optimizer = torch.optim.AdamW([nn.Parameter(torch.randn(2))])
    return {
        "weight": torch.randn(2, 2),
        "with_state": with_state,
        "with_attribute": with_attribute,
        "plain": [torch.Size([2, 2]), torch.float32, torch.uint16, torch.device("cuda:0"), torch.strided],
        "counter": collections.Counter("abca"),
        "set": {1, 2},
        "bytes": [b"abc", bytearray(b"def"), complex(1, 2), 10**40, -(2**70), float("inf"), None],
        "ordered": collections.OrderedDict(inner=torch.arange(3)),
        "optimizer": optimizer.state_dict(),
        5: {"not": "a name"},
        "float8": torch.zeros(2).to(torch.float8_e4m3fn),
        "unsigned": torch.arange(3, dtype=torch.uint8).to(torch.uint16),
        "complex": torch.randn(2, dtype=torch.complex64).conj(),
        "negated": torch.randn(2, dtype=torch.complex64).conj().imag,
        "sparse": torch.eye(2).to_sparse(),
        "meta": torch.empty(2, device="meta"),
        "quantized": torch.quantize_per_tensor(torch.randn(2), 0.1, 0, torch.qint8),
    }


def views() -> dict:
    base = torch.randn(4, 6)
    return {
        "base": base,
        "transposed": base.t(),
        "sliced": base[1:3, 2:5],
        "stepped": base[::2, 1::3],
        "expanded": torch.randn(3, 1).expand(3, 4),
        "permuted": torch.randn(2, 3, 2).permute(2, 0, 1),
        "diagonal": torch.diagonal(base),
        "half": base.half().t(),
        "bfloat16": base.bfloat16()[:, 1:],
        "double": base.double().t()[2:],
        "scalar": base[1, 2],
        "none": torch.zeros(0, 3),
    }


def values(tensor: torch.Tensor) -> dict | None:
    if tensor.is_complex() or tensor.is_quantized or tensor.layout != torch.strided or tensor.device.type == "meta":
        return None
    if tensor.dtype == torch.float8_e4m3fn or tensor.is_neg():
        return None
    return {"shape": list(tensor.shape), "values": tensor.detach().double().flatten().tolist()}


files = {"allowed": (beside(), True), "views": (views(), True), "legacy": (views(), False)}
comment = f"by scripts/make-pytorch-fixture.py, torch {torch.__version__}, seed 5; null: of no type that is read"
expected = {"_comment": comment}
for name, (content, as_archive) in files.items():
    path = folder / f"{name}.pt"
    torch.save(content, path, _use_new_zipfile_serialization=as_archive)
    loaded = torch.load(path, weights_only=True)
    loaded |= {f"ordered.{key}": value for key, value in loaded.get("ordered", {}).items()}
    expected[name] = {key: values(value) for key, value in loaded.items() if isinstance(value, torch.Tensor)}
(folder / "allowed.json").write_text(json.dumps(expected) + "\n")
