"""What bundles are called beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from compiler.bench.names import names
from compiler.bundle import Bundle


def bundle(folder: str, low: Mapping[str, Any] | None = None) -> Bundle:
    return Bundle(Path(folder), {"precision": low, "artifact": {"target": folder.rpartition(".")[2]}})


STATIC, BFLOAT16 = {"precision": "int8", "method": "static"}, {"precision": "bfloat16", "method": "auto"}


@pytest.mark.parametrize(
    ("bundles", "called"),
    [
        ([bundle("/b/net.onnxruntime"), bundle("/b/net.tvm")], ["onnxruntime", "tvm"]),
        (
            [bundle("/f/net.tvm"), bundle("/s/net.tvm", STATIC), bundle("/h/net.openvino", BFLOAT16)],
            ["tvm", "tvm int8 static", "openvino bfloat16"],
        ),
        ([bundle("/b/one.tvm"), bundle("/b/two.tvm"), bundle("/b/one.onnx")], ["tvm one", "tvm two", "onnx"]),
        ([bundle("/b/v1/out/net.tvm"), bundle("/b/v2/out/net.tvm")], ["tvm v1", "tvm v2"]),
        (
            [bundle("/a/x/net.tvm"), bundle("/a/y/net.tvm"), bundle("/b/x/net.tvm")],
            ["tvm a/x/net", "tvm a/y/net", "tvm b/x/net"],
        ),
        ([bundle("/b/net.tvm"), bundle("/b/../b/net.tvm")], ["tvm net", "tvm net #2"]),
        ([bundle("/net.tvm"), bundle("/a/b/net.tvm"), bundle("/a/net.tvm")], ["tvm /", "tvm b", "tvm a"]),
    ],
)
def test_no_longer_than_it_takes_to_tell_them_apart(bundles: list[Bundle], called: list[str]) -> None:
    assert names(bundles) == called
