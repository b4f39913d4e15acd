"""A float32 transformer decoder of 1.5 billion parameters (6 GB), its head tied to its embedding."""

from __future__ import annotations

import torch
from torch import nn

WIDTH, LAYERS, HEADS, VOCABULARY = 2048, 29, 16, 20_000


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.before_mlp = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        parts = self.qkv(self.before_attention(x)).view(batch, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(*parts.unbind(0), is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.mlp(self.before_mlp(x))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(input_ids)
        for block in self.blocks:
            x = block(x)
        return nn.functional.linear(self.norm(x), self.embedding.weight)


def build() -> tuple[nn.Module, list[str]]:
    torch.manual_seed(0)
    with torch.device("meta"):
        model = Decoder()
    model.to_empty(device="cpu")
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if "norm" in name or "before" in name:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            else:
                parameter.uniform_(-0.02, 0.02)
    return model, ["input_ids:int64[batch=1..2,seq=4..16]"]
