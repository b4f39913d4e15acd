"""The files of a bundle that are for reading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compiler import bundle as bundles
from compiler.report import document


def write(
    folder: Path,
    name: str,
    manifest: Mapping[str, Any],
    *,
    page: bool = True,
    layers: Mapping[str, Any] | None = None,
    choice: Mapping[str, Any] | None = None,
) -> None:
    """`layers` and `choice` stand on the page only, which takes time to draw and is left away for what is not kept."""
    (folder / bundles.REPORT).write_text(document.markdown(name, manifest), encoding="utf-8")
    if layers is not None:
        bundles.write_json(folder / bundles.LAYERS, layers)
    if page:
        from compiler.report.html import bundle

        size = bundles.size(folder, manifest["artifact"]["files"])
        shown = bundle.html(name, manifest, size, layers=layers, choice=choice)
        (folder / bundles.PAGE).write_text(shown, encoding="utf-8")
