"""What one would write by hand: the module, at fixed sizes, through torch's exporter and through OpenVINO's own.

python plain_convert.py models/resnet50.py:build inputs.npz OUT onnxruntime|openvino
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import torch


def main(reference: str, inputs: str, out: str, route: str) -> None:
    file, _, name = reference.rpartition(":")
    model = runpy.run_path(file)[name]()[0].eval()
    tensors = {key: torch.from_numpy(array) for key, array in np.load(inputs).items()}
    if route == "onnxruntime":
        program = torch.onnx.export(model, (), kwargs=tensors, dynamo=True, verbose=False)
        assert program is not None
        program.save(Path(out) / "plain.onnx")
    else:
        import openvino

        with torch.no_grad():
            exported = torch.export.export(model, (), kwargs=tensors)
        openvino.save_model(openvino.convert_model(exported), Path(out) / "plain.xml", compress_to_fp16=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
