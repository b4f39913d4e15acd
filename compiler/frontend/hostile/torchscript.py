"""TorchScript: its code runs in torch's interpreter, some of it while loading."""

from __future__ import annotations

from pathlib import Path

from compiler.frontend.hostile.archives import open_archive


def check_torchscript(path: Path) -> None:
    with open_archive(path):
        pass
