"""The denoiser of a latent diffusion model: residual blocks that know the time, attention that reads the prompt."""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

_GROUPS = 8


class ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(_GROUPS, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(time, outputs))
        self.second = nn.Sequential(
            nn.GroupNorm(_GROUPS, outputs), nn.SiLU(), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        y = self.first(x) + self.time(time)[:, :, None, None]
        return self.second(y) + self.shortcut(x)


class Attention(nn.Module):
    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(context, channels, bias=False)
        self.value = nn.Linear(context, channels, bias=False)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.query, x), (self.key, context), (self.value, context))
        )
        return self.output(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class PromptBlock(nn.Module):
    """Self-attention over the pixels, cross-attention to the prompt, gated MLP."""

    def __init__(self, channels: int, context: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.pixels = Attention(channels, channels, heads)
        self.prompt = Attention(channels, context, heads)
        self.widen = nn.Linear(channels, 8 * channels)
        self.narrow = nn.Linear(4 * channels, channels)

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        y = self.norms[0](tokens)
        tokens = tokens + self.pixels(y, y)
        tokens = tokens + self.prompt(self.norms[1](tokens), context)
        value, gate = self.widen(self.norms[2](tokens)).chunk(2, dim=-1)
        tokens = tokens + self.narrow(value * F.gelu(gate))
        return x + tokens.transpose(1, 2).unflatten(2, x.shape[2:])


class Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int, time: int, context: int, heads: int) -> None:
        super().__init__()
        self.residual = ResidualBlock(inputs, outputs, time)
        self.prompt = PromptBlock(outputs, context, heads)

    def forward(self, x: torch.Tensor, time: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return self.prompt(self.residual(x, time), context)


class DiffusionUNet(nn.Module):
    def __init__(self, widths: list[int], context: int, heads: int) -> None:
        super().__init__()
        self.frequencies = widths[0] // 2
        time = 4 * widths[0]
        self.embed_time = nn.Sequential(nn.Linear(widths[0], time), nn.SiLU(), nn.Linear(time, time))
        self.stem = nn.Conv2d(4, widths[0], 3, padding=1)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(Stage(width, width, time, context, heads) for width in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairs)
        self.middle = Stage(widths[-1], widths[-1], time, context, heads)
        self.grow = nn.ModuleList(nn.Conv2d(coarse, fine, 3, padding=1) for fine, coarse in reversed(pairs))
        self.up = nn.ModuleList(Stage(2 * fine, fine, time, context, heads) for fine, _ in reversed(pairs))
        self.head = nn.Sequential(nn.GroupNorm(_GROUPS, widths[0]), nn.SiLU(), nn.Conv2d(widths[0], 4, 3, padding=1))

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        time = self.embed_time(self.waves(timestep))
        x = self.stem(sample)
        skips = []
        for stage, shrink in zip(self.down, self.shrink, strict=True):
            x = stage(x, time, prompt)
            skips.append(x)
            x = shrink(x)
        x = self.middle(x, time, prompt)
        for grow, stage in zip(self.grow, self.up, strict=True):
            x = grow(F.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = stage(torch.cat([x, skips.pop()], dim=1), time, prompt)
        return self.head(x)

    def waves(self, timestep: torch.Tensor) -> torch.Tensor:
        steps = torch.arange(self.frequencies, device=timestep.device) / self.frequencies
        angles = timestep[:, None] * torch.exp(-math.log(10000.0) * steps)
        return torch.cat([angles.cos(), angles.sin()], dim=1)


def build() -> tuple[nn.Module, list[str]]:
    return _unet([128, 256, 512], context=768, heads=8), _inputs(steps="4..8", context=768)


def small() -> tuple[nn.Module, list[str]]:
    return _unet([16, 32], context=24, heads=4), _inputs(steps="1..3", context=24)


def _inputs(steps: str, context: int) -> list[str]:
    return [
        f"sample:float32[batch=1..4,4,h=8*{steps},w=8*{steps}]",
        "timestep:float32[batch]",
        f"prompt:float32[batch,tokens=8..77,{context}]",
    ]


def _unet(widths: list[int], context: int, heads: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = DiffusionUNet(widths, context, heads).eval()
        # A fresh scale is 1 and its bias 0: a pass that lost one would still look right.
        for tensor in model.state_dict().values():
            if tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    return model
