"""What one would write by hand: import torch, load the model, export it, open a session, run once.

python plain_export.py models/resnet50.py:build
"""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
from pathlib import Path

import onnxruntime
import torch

DTYPES = {"float32": torch.float32, "int64": torch.int64}


def main(reference: str) -> None:
    file, _, name = reference.rpartition(":")
    spec = importlib.util.spec_from_file_location("model", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model, inputs = getattr(module, name)()
    model.eval()
    tensors, shapes = {}, {}
    dims: dict[str, torch.export.Dim] = {}
    for text in inputs:
        tensor, dtype, extents = re.fullmatch(r"(\w+):(\w+)\[(.*)\]", text).groups()  # type: ignore[union-attr]
        sizes, dynamic = [], {}
        for axis, extent in enumerate(extents.split(",")):
            if extent.isdigit():
                sizes.append(int(extent))
                continue
            dim, _, bounds = extent.partition("=")
            if bounds:
                lo, hi = map(int, bounds.split(".."))
                dims[dim] = torch.export.Dim(dim, min=lo, max=hi)
            sizes.append(2 + list(dims).index(dim) * 6)
            dynamic[axis] = dims[dim]
        tensors[tensor] = torch.ones(sizes, dtype=DTYPES[dtype])
        shapes[tensor] = dynamic
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        program = torch.onnx.export(model, (), kwargs=tensors, dynamic_shapes=shapes, dynamo=True, verbose=False)
        assert program is not None
        program.save(path)
        session = onnxruntime.InferenceSession(path)
        session.run(None, {name: tensor.numpy() for name, tensor in tensors.items()})


if __name__ == "__main__":
    main(sys.argv[1])
