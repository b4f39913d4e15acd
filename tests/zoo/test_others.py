"""The small zoo's other families, for every target."""

from __future__ import annotations

from pathlib import Path

import pytest
from zoo import Zoo, everything_else


class TestOthers(Zoo):
    @pytest.mark.parametrize(("name", "target"), everything_else("transformer", "convnet"))
    def test_it_computes_what_the_model_computes(self, name: str, target: str, folder: Path) -> None:
        self.check(name, target, folder)
