"""`.pt2`: programs that torch.export saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compiler.errors import CompileError
from compiler.frontend.hostile.pt2 import check_pt2
from compiler.frontend.loaders.failures import reading

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def load_exported(path: str | Path, trust: bool = False) -> ExportedProgram:
    path = Path(path)
    if not trust:
        check_pt2(path)
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
