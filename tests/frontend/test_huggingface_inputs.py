"""Inputs that are suggested for a model of the library: by what forward needs, and by what its config says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from compiler.frontend.huggingface_inputs import suggested_specs


class Model(nn.Module):
    """As much of a model of the library as the suggestions look at."""

    def __init__(self, main: str, **config: Any) -> None:
        super().__init__()
        self.main_input_name, self.config = main, SimpleNamespace(**config)


def suggested(module: Model) -> list[str]:
    return [str(spec) for spec in suggested_specs(module)]


def test_tokens_with_their_mask() -> None:
    class Text(Model):
        def forward(self, input_ids: Any = None, attention_mask: Any = None, inputs_embeds: Any = None) -> Any:
            assert inputs_embeds is None
            return input_ids * attention_mask

    shape = "int64[batch=1..8,seq=8..32]"
    expected = [f"input_ids:{shape}", f"attention_mask:{shape}"]
    assert suggested(Text("input_ids", max_position_embeddings=32, hidden_size=4)) == expected


def test_what_forward_cannot_do_without_is_given_beside_the_main_input() -> None:
    class Speech(Model):
        def forward(self, input_ids: torch.Tensor, input_values: torch.Tensor) -> torch.Tensor:
            return input_ids.sum() + nn.functional.conv1d(input_values, torch.ones(2, 1, 7)).sum()

    # The convolution takes one channel, so the layout without channels is not it.
    assert suggested(Speech("input_ids")) == [
        "input_ids:int64[batch=1..8,seq=8..128]",
        "input_values:float32[batch=1..8,1,16000]",
    ]


def test_sizes_are_found_in_the_parts_of_a_config() -> None:
    part = SimpleNamespace(num_mel_bins=20, to_dict=dict)

    class Listens(Model):
        def forward(self, input_features: torch.Tensor) -> torch.Tensor:
            return input_features @ torch.ones(20, 2)

    model = Listens("input_features", encoder_config=part, sub_configs={"encoder_config": None})
    assert suggested(model) == ["input_features:float32[batch=1..8,frames=64..512,20]"]


def test_frames_of_a_video() -> None:
    class Watches(Model):
        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            batch, frames, *_ = pixel_values.shape
            return pixel_values.reshape(batch * frames, 3, 16, 16) if pixel_values.dim() == 5 else 1 / 0

    model = Watches("pixel_values", image_size=16, num_frames=4)
    assert suggested(model) == ["pixel_values:float32[batch=1..8,4,3,16,16]"]


def test_no_limit_is_no_size() -> None:
    class Text(Model):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return input_ids

    assert suggested(Text("input_ids", max_position_embeddings=-1)) == ["input_ids:int64[batch=1..8,seq=8..128]"]


def test_nothing_where_nothing_fits() -> None:
    class Odd(Model):
        def forward(self, state: torch.Tensor, input_ids: Any = None) -> torch.Tensor:
            return state

    assert suggested(Odd("state")) == []
