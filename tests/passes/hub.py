"""Graphs of the hub dialect for the tests of fusions."""

from __future__ import annotations

import re

HEADER = '<ir_version: 10, opset_import: ["" : 24]> g '


def hub(interface: str, body: str, *declared: str) -> str:
    """A graph at the hub's opset, with those of the declared constants and types that its body names."""
    words = set(re.findall(r"\w+", body))
    used = [text for text in declared if text.split("=")[0].split()[-1] in words]
    return f"{HEADER}{interface} <{', '.join(used)}> {{ {body} }}"
