"""A library of OpenVINO extensions: how to convert operators that the frontend does not know, and new operators.

It travels with the artifact under a name of its own. It is code, so that a bundle's hash is compared before it is
loaded, and no path that a manifest names is ever opened.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.contracts import Artifact
from compiler.errors import UsageError

if TYPE_CHECKING:
    import openvino

OPTION = "extension"
FILE = "extension.so"
# What `load` is to know. The library itself says which processor features it needs, if it needs any.
FACTS: Mapping[str, Any] = {"native_code": True, "cpu_features": []}


def adopt(options: Mapping[str, Any], out: Path, core: openvino.Core) -> Path | None:
    """A copy of the library that the user names, after the runtime took it."""
    given = options.get(OPTION)
    if given is None:
        return None
    source = Path(str(given)).expanduser()
    if not source.is_file():
        raise _refused(given, "there is no such file")
    copy = out / FILE
    shutil.copyfile(source, copy)
    try:
        core.add_extension(str(copy))
    except RuntimeError as error:
        copy.unlink()
        said = str(error).strip().splitlines()[-1].replace(str(copy), str(source))
        raise _refused(given, said.rpartition("This error happened: ")[2]) from error
    return copy


def load(artifact: Artifact, folder: Path, core: openvino.Core) -> None:
    """The artifact's own, if it has one and says that it is code, so that its hash was compared by now."""
    if FILE in artifact.files and artifact.facts.get("native_code"):
        core.add_extension(str(folder / FILE))


def _refused(given: object, why: str) -> UsageError:
    hint = "a shared library made with OpenVINO's headers (OPENVINO_CREATE_EXTENSIONS)"
    return UsageError("bad-option", f"{OPTION} cannot be '{given}'", why=why, hint=hint)
