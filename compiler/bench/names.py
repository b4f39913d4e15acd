"""What each of several bundles is called beside the others: no longer than it takes to tell them apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from compiler.bundle import Bundle


def names(bundles: Sequence[Bundle]) -> list[str]:
    """By the target and a lower precision; where that is not enough, also by the part of the path that differs."""
    kinds = [_kind(bundle) for bundle in bundles]
    found = list(kinds)
    for kind, number in Counter(kinds).items():
        if number > 1:
            same = [place for place, other in enumerate(kinds) if other == kind]
            parts = _parts([bundles[place].folder.resolve() for place in same], f".{_target(bundles[same[0]])}")
            for place, part in zip(same, parts, strict=True):
                found[place] = f"{kind} {part}"
    return list(_numbered(found))


def _kind(bundle: Bundle) -> str:
    low = bundle.manifest["precision"]
    if low is None:
        return _target(bundle)
    method = low["method"] if low["method"] != "auto" else ""
    return f"{_target(bundle)} {low['precision']} {method}".rstrip()


def _target(bundle: Bundle) -> str:
    target: str = bundle.manifest["artifact"]["target"]
    return target


def _parts(folders: Sequence[Path], ending: str) -> list[str]:
    """The last part that is another in every path; if there is none, as many of the last ones as it takes."""
    paths = [(*folder.parts[:-1], folder.name.removesuffix(ending) or folder.name) for folder in folders]
    shortest = min(map(len, paths))
    for at in range(1, shortest + 1):
        if len({path[-at] for path in paths}) == len(paths):
            return [path[-at] for path in paths]
    wanted = len(set(paths))
    length = next((at for at in range(1, shortest + 1) if len({path[-at:] for path in paths}) == wanted), 0)
    return ["/".join(path[-length:]) for path in paths]


def _numbered(found: Sequence[str]) -> Iterator[str]:
    """A bundle that was named twice is two contenders."""
    seen = {name: count(1) for name in found}
    for name in found:
        number = next(seen[name])
        yield name if number == 1 else f"{name} #{number}"
