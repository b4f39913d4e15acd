"""A small GPT over bytes, which learns from the documentation strings of Python's own library.

It is trained where it is needed: a model whose perplexity means something, without a download. Like Llama it has RMS
norms before each half of a block, rotated queries and keys, and a gated MLP.
"""

import ast
import math
import sysconfig
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

VOCABULARY = 256
CONTEXT = 128
_HELD_BACK = 8  # of this many files one is for judging


def untrained(width: int = 128, layers: int = 4) -> tuple[nn.Module, list[str]]:
    return TinyGpt(width, layers).eval(), [f"ids:int64[batch=1..64,seq=8..{CONTEXT}]"]


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(width, 2 * width, bias=False) for _ in range(2))
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, width = x.shape
        y = self.before_attention(x)
        q, k, v = (
            part(y).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        q, k = _rotated(q, cos, sin), _rotated(k, cos, sin)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(mixed.transpose(1, 2).reshape(batch, length, width))
        y = self.before_mlp(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class TinyGpt(nn.Module):
    def __init__(self, width: int, layers: int, heads: int = 4) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.table = nn.Embedding(VOCABULARY, width)
            self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
            self.norm = nn.RMSNorm(width, eps=1e-6)
            self.head = nn.Linear(width, VOCABULARY, bias=False)
        size = width // heads
        angles = torch.outer(torch.arange(CONTEXT), 10000 ** (-torch.arange(0, size, 2) / size))
        self.register_buffer("cos", torch.cat([angles, angles], -1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat([angles, angles], -1).sin(), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        x, length = self.table(ids), ids.shape[1]
        for block in self.blocks:
            x = block(x, self.cos[:length], self.sin[:length])
        return self.head(self.norm(x))


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    one, other = x.chunk(2, -1)
    return x * cos + torch.cat([-other, one], -1) * sin


def text() -> tuple[np.ndarray, np.ndarray]:
    """Bytes to learn from, and bytes to be judged on, from other files."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in folder.glob("**/*.py") if not {"site-packages", "test", "tests"} & set(path.parts))
    parts: tuple[list[str], list[str]] = ([], [])
    for place, path in enumerate(files):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue  # the library holds broken files on purpose
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        strings = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
        parts[place % _HELD_BACK == 0].extend(string for string in strings if string)
    learn, judge = (np.frombuffer("\n\n".join(part).encode(), np.uint8).astype(np.int64) for part in parts)
    return learn, judge


def train(model: nn.Module, learn: np.ndarray, steps: int, batch: int = 32, seed: int = 0) -> None:
    """In place. The same steps give the same weights on the same machine."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 30) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        windows = torch.from_numpy(cut(learn, rng.integers(0, len(learn) - CONTEXT - 1, batch)))
        logits = model(windows[:, :-1])
        loss = functional.cross_entropy(logits.reshape(-1, VOCABULARY), windows[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def cut(data: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Windows of one byte more than the context: what is read, and what comes next."""
    return np.stack([data[start : start + CONTEXT + 1] for start in starts])
