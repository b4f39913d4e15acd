from __future__ import annotations

import numpy as np
from check import apply, check_unchanged, parse, same_numbers

from backends.onnxruntime.passes.name_pad_axes import NamePadAxes

SIG = "(float[1,2,n,4] x) => (float[1,2,m,k] y) <int64[8] p = {0,0,0,0,0,0,1,1}>"
POOL = "y = MaxPool<kernel_shape = [3,3], strides = [2,2]>(t)"


def test_a_pad_before_a_pool_names_its_axes() -> None:
    model = parse(f"{SIG} {{ t = Pad(x, p) {POOL} }}")
    before = model.clone()
    assert apply(NamePadAxes(), model)
    pad = next(node for node in model.graph if node.op_type == "Pad")
    assert pad.inputs[3] is not None and pad.inputs[3].const_value is not None
    assert pad.inputs[3].const_value.numpy().tolist() == [0, 1, 2, 3]
    assert not apply(NamePadAxes(), model)
    same_numbers(before, model, {"x": -np.ones((1, 2, 6, 4), np.float32)})


def test_a_pad_before_anything_else_stays() -> None:
    check_unchanged(NamePadAxes(), "(float[2,3] x) => (float[3,4] y) <int64[4] p = {0,0,1,1}> { y = Pad(x, p) }")
