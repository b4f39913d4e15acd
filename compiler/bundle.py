"""The artifact directory: native files, a manifest that vouches for each of them, the reference, the report.

A bundle is written beside its place and renamed into it, so there is never half a bundle, and a failed build
never destroys the previous good one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compiler.contracts import Artifact, Dim, Extent, Signature, TensorSpec
from compiler.errors import CompileError, UsageError

SCHEMA = "plumbline-bundle/1"
MANIFEST = "manifest.json"
REFERENCE = "reference"
LOWERED = "lower-precision"  # in it: the answers of the graph in lower precision
REPORT = "report.md"
PAGE = "report.html"
LAYERS = "layers.json"
REJECTED = ".rejected"
REPRO = ".repro"
BISECT = ".bisect"


@dataclass(frozen=True)
class Bundle:
    """A finished bundle on disk."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def artifact(self) -> Artifact:
        data = dict(self.manifest["artifact"])
        try:
            data["signature"] = signature_from_json(data["signature"])
            data["files"] = tuple(data["files"])
            return Artifact(**data)
        except (KeyError, TypeError) as error:
            raise _broken(self.folder, f"its artifact is not described as it should be: {error}") from error

    @property
    def rejected(self) -> bool:
        return bool(self.manifest["verdict"]["status"] == "failed")


# -- writing ----------------------------------------------------------------------------------------------------


@contextmanager
def staged(place: Path) -> Iterator[Path]:
    """A folder beside `place` to build in. It is gone afterwards, unless `publish` has moved it into place."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = _folder_beside(place, "partial")
    except OSError as error:
        raise _cannot_write(place, error) from error
    try:
        yield folder
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            raise _cannot_write(place, error) from error
        raise
    finally:
        _remove(folder)


def _folder_beside(place: Path, what: str) -> Path:
    import tempfile  # here, because a host that only runs bundles has no use for it

    return Path(tempfile.mkdtemp(prefix=f".{place.name}.{what}-", dir=place.parent))


def _remove(folder: Path) -> None:
    import shutil  # for the same reason

    shutil.rmtree(folder, ignore_errors=True)


def _cannot_write(place: Path, error: OSError) -> CompileError:
    return CompileError(
        "cannot-write",
        f"cannot write the bundle '{place}'",
        why=error.strerror or str(error),
        hint="free some space or choose another place with --output DIR; nothing was changed",
    )


def publish(folder: Path, place: Path) -> Path:
    """Move a staged folder to its place; the bundle that stood there is removed only once the new one stands."""
    folder.chmod(0o755)
    previous = None
    if place.exists():
        if not (place / MANIFEST).is_file():
            raise UsageError(
                "not-a-bundle",
                f"'{place}' exists and is no bundle; it was left alone",
                hint="choose another --output or --name",
            )
        previous = _folder_beside(place, "previous") / place.name
        place.rename(previous)
    try:
        folder.rename(place)
    except BaseException:  # an interrupt as well
        if previous is not None:
            previous.rename(place)
            previous.parent.rmdir()
        raise
    if previous is not None:
        _remove(previous.parent)
    return place


def seal(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest with the hash of every file; the last thing that happens to a bundle."""
    files = {
        str(path.relative_to(folder).as_posix()): {"sha256": sha256(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    write_json(folder / MANIFEST, {"schema": SCHEMA, **manifest, "files": files})


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    # In large windows: a thread that takes a hash needs the interpreter only between two of them, and a map of a
    # whole file could stand in memory beside the weights.
    digest, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        for start in range(0, size, _WINDOW):
            with mmap.mmap(file.fileno(), min(_WINDOW, size - start), access=mmap.ACCESS_READ, offset=start) as window:
                digest.update(window)
    return digest.hexdigest()


_WINDOW = 256 * 2**20


def size(folder: Path, files: Iterable[str]) -> int:
    """Bytes of what an artifact consists of."""
    return sum((folder / name).stat().st_size for name in files)


# -- reading ----------------------------------------------------------------------------------------------------


def read(folder: Path) -> Bundle:
    """The manifest of a bundle, without looking at the other files."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UsageError(
            "not-a-bundle",
            f"'{folder}' is no bundle" if folder.exists() else f"there is no bundle '{folder}'",
            why=f"it has no {MANIFEST}",
            hint="a bundle is what `compile MODEL --target T` writes, below build/",
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _broken(folder, str(error)) from error
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise CompileError(
            "broken-bundle",
            f"'{folder}' has a manifest of another kind",
            why=f"its schema is {schema!r}, this version reads {SCHEMA!r}",
            hint="compile the model again with this version",
        )
    if lacking := [part for part in _PARTS if part not in manifest]:
        raise _broken(folder, f"it has no '{lacking[0]}'")
    return Bundle(folder, manifest)


# What a manifest cannot do without, whoever reads it.
_PARTS = ("artifact", "files", "host", "options", "passes", "reference", "source", "verdict", "versions")


def _broken(folder: Path, why: str) -> CompileError:
    hint = "fetch the bundle again, or compile the model again"
    return CompileError("broken-bundle", f"the manifest of '{folder}' cannot be read", why=why, hint=hint)


def check(bundle: Bundle) -> None:
    """Every file is there and is the one that was sealed, and the artifact consists of no others."""
    home = bundle.folder.resolve()
    for name, facts in bundle.manifest["files"].items():
        path = home / name
        if not path.is_file():
            raise _tampered(bundle, f"{name} is missing")
        if path.resolve() != path or not path.is_relative_to(home):
            raise _tampered(bundle, f"{name} leads somewhere else")
        if path.stat().st_size != facts["bytes"] or sha256(path) != facts["sha256"]:
            raise _tampered(bundle, f"{name} is not the file that was sealed")
    if foreign := [name for name in bundle.artifact.files if name not in bundle.manifest["files"]]:
        raise _tampered(bundle, f"{foreign[0]} is not vouched for")


def _tampered(bundle: Bundle, why: str) -> CompileError:
    return CompileError(
        "bundle-changed",
        f"'{bundle.folder}' is not as it was written; it is not loaded",
        why=why,
        hint="compile the model again, or fetch the bundle again",
    )


# -- signatures as JSON -----------------------------------------------------------------------------------------


def signature_to_json(signature: Signature) -> dict[str, Any]:
    return asdict(signature)


def signature_from_json(data: Mapping[str, Any]) -> Signature:
    return Signature(tuple(map(_spec, data["inputs"])), tuple(map(_spec, data["outputs"])))


def _spec(data: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(data["name"], data["dtype"], tuple(map(_extent, data["dims"])))


def _extent(data: Any) -> Extent | str:
    return Dim(**data) if isinstance(data, dict) else data


def forget_failures(place: Path) -> None:
    """What earlier, failed builds left beside a bundle that is good now."""
    for suffix in (REJECTED, REPRO, BISECT):
        _remove(place.with_name(place.name + suffix))


def remove_leftovers(place: Path) -> None:
    """Folders that a killed run left beside `place`. A staging folder of a live run is never older than a day."""
    for pattern in (f".{place.name}.partial-*", f".{place.name}.previous-*"):
        for folder in place.parent.glob(pattern):
            with contextlib.suppress(OSError):
                if _age(folder) > 24 * 3600:
                    _remove(folder)


def _age(path: Path) -> float:
    import time

    return time.time() - path.stat().st_mtime
