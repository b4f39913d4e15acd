"""The result of a check as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compiler.check.judge import Judged, exit_code
from compiler.check.render import lines


def document(judged: Sequence[Judged], manifest: Path) -> dict[str, Any]:
    return {
        "manifest": str(manifest),
        "exit_code": int(exit_code(judged)),
        "summary": lines.summary(judged, manifest),
        "cells": [_cell(one) for one in judged],
    }


def _cell(judged: Judged) -> dict[str, Any]:
    return {
        "model": judged.cell.model,
        "target": judged.cell.target,
        "failed": judged.failed,
        "findings": [{**asdict(finding), "fails": finding.fails} for finding in judged.findings],
        "measured": asdict(judged.measured) if judged.measured is not None else None,
        "locked": asdict(judged.locked) if judged.locked is not None else None,
    }
