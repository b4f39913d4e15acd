"""The zoo's table for scripts and the Makefile.

python models/table.py names                    every model, one per line
python models/table.py factory resnet50 small   models/resnet50.py:small
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("zoo.toml")


def models() -> dict[str, dict[str, Any]]:
    tables = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    del tables["check"]  # speaks for all models
    return tables


def factory(name: str, size: str) -> str:
    """What `compile` takes; a model that has only one size is that size."""
    entry = models()[name]
    return f"{entry['file']}:{entry.get(size, entry['full'])}"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["names"]:
            print("\n".join(models()))
        case ["factory", name, ("small" | "full") as size]:
            print(factory(name, size))
        case _:
            sys.exit(__doc__)
