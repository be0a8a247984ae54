"""Makes files with PyTorch itself: tensors of many types, a state_dict, the format before 1.6, and a whole module.

python scripts/make-pytorch-fixtures.py test/fixtures/pytorch
"""

import collections
import pathlib
import sys

import torch

folder = pathlib.Path(sys.argv[1])
weight = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
base = torch.arange(24, dtype=torch.float32)
tensors = {
    "f32": weight,
    "f16": weight.half(),
    "bf16": weight.bfloat16(),
    "i64": torch.arange(3),
    "view": base[6:12].view(2, 3),
    "turned": weight.t(),
    "parameter": torch.nn.Parameter(base[:4].clone()),
}
beside = {"epoch": 3, "rate": 1e-3, "name": "x", "none": None, "done": True, "list": [1, (2, 3)], "large": 2**40}
torch.save({"model": collections.OrderedDict(tensors), **beside}, folder / "mixed.pt")

torch.manual_seed(0)
module = torch.nn.Linear(2, 2)
torch.save(module.state_dict(), folder / "state_dict.pt")
torch.save(module.state_dict(), folder / "before_1_6.pt", _use_new_zipfile_serialization=False)
torch.save(module, folder / "module.pt")
