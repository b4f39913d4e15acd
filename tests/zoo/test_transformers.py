"""The small zoo's transformers, for every target."""

from __future__ import annotations

from pathlib import Path

import pytest
from zoo import Zoo, of


class TestTransformers(Zoo):
    @pytest.mark.parametrize(("name", "target"), of("transformer"))
    def test_it_computes_what_the_model_computes(self, name: str, target: str, folder: Path) -> None:
        self.check(name, target, folder)
