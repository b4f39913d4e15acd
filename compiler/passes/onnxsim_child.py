"""Runs onnxsim on a file, in a process of its own: it is native code, and a crash must not be ours.

python -m compiler.passes.onnxsim_child IN.onnx OUT.onnx
"""

from __future__ import annotations

import sys


def main(source: str, target: str) -> None:
    import onnx
    import onnxsim

    simplified, _ = onnxsim.simplify(onnx.load(source), check_n=0)
    onnx.save(simplified, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
