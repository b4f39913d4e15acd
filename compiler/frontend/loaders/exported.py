"""`.pt2`: programs that torch.export saved."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.errors import CompileError, UnavailableError
from compiler.frontend.hostile.archives import open_archive
from compiler.frontend.hostile.pt2 import MAX_PROGRAM, check_pt2
from compiler.frontend.loaders.failures import reading

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# In a specification of inputs or outputs, which is JSON within JSON.
_CONTAINER = re.compile(rb'\\"type\\": \\"(transformers\.(?:modeling_outputs|models\.\w+\.modeling_\w+))\.\w+\\"')


def load_exported(path: str | Path, trust: bool = False) -> ExportedProgram:
    path = Path(path)
    if not trust:
        check_pt2(path)
    _import_containers(path)
    from torch._export.verifier import SpecViolationError

    # torch.export.load turns to its older, unpickling reader when this one fails; this one alone is enough.
    from torch.export.pt2_archive._package import load_pt2

    hint = "save it again with this torch: torch.export.save(...)"
    with reading(path, "an exported program", hint, also=(SpecViolationError,)), path.open("rb") as stream:
        programs = load_pt2(stream).exported_programs
    if "model" not in programs:
        raise CompileError(
            "unreadable-model",
            f"{path} holds no program called 'model'",
            why=f"it holds {', '.join(sorted(programs)) or 'none'}",
            hint="save the one to compile with torch.export.save",
        )
    return programs["model"]


def _import_containers(path: Path) -> None:
    """Models of transformers return classes of their own, which torch knows once their module is imported."""
    with open_archive(path) as archive:
        text = b"".join(archive.read(member, MAX_PROGRAM) for member in archive.under("models/"))
    modules = sorted({found.decode() for found in _CONTAINER.findall(text)})
    try:
        for module in ("transformers", *modules) if modules else ():
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == "transformers":
            raise UnavailableError(
                "missing-extra",
                f"{path} returns a class of the transformers library",
                why=str(error),
                hint="pip install 'plumbline[hf]'",
            ) from error
        raise CompileError(
            "unreadable-model",
            f"{path} returns a class that this transformers library does not have",
            why=str(error),
            hint="install the version of transformers that the model was exported with",
        ) from error
