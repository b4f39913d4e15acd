"""The machine and the packages that something was found out with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.report.html.markup import tag
from compiler.report.html.page import Section, pairs


def environment(host: Mapping[str, Any], versions: Mapping[str, str], more: Mapping[str, Any]) -> Section:
    facts = {**more, **{name.replace("_", " "): value for name, value in host.items()}}
    return Section(
        "environment",
        "Environment",
        [
            tag("h3", "Machine"),
            pairs((name, _told(value)) for name, value in facts.items()),
            tag("h3", "Versions"),
            pairs(versions.items()),
        ],
    )


def _told(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
