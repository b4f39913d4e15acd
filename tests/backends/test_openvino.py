"""OpenVINO: the contract, and its own options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from contract import BackendContract


class TestOpenVino(BackendContract):
    target = "openvino"
    runtime = "openvino"
    mistyped_option = ("thread", "threads")
    refused_dtypes = frozenset({"float64", "complex64", "complex128", "string"})
    known_failures: ClassVar[Mapping[str, str]] = {
        "test_integers_beyond_32_bits_are_exact": "its CPU computes int64 as int32",
    }
