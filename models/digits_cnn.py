"""A small convnet that has really learned something: scikit-learn's handwritten digits, in a few seconds.

On random weights a wrong result can hide; here a broken compile costs accuracy.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F


class DigitsCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(image))


def build() -> tuple[nn.Module, list[str]]:
    images, labels = digits(held_out=False)
    # Training needs gradients, whatever the caller has switched off.
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(0)
        model = DigitsCNN()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(10):
            for batch in torch.randperm(len(images)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(model(images[batch]), labels[batch]).backward()
                optimizer.step()
    return model.eval().requires_grad_(False), ["image:float32[batch=1..64,1,8,8]"]


def digits(held_out: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Images scaled to 0..1 with their labels: every fifth is held out, the others are for training."""
    data = load_digits()
    chosen = (np.arange(len(data.target)) % 5 == 0) == held_out
    images = torch.from_numpy(data.images[chosen]).float().unsqueeze(1) / 16
    return images, torch.from_numpy(data.target[chosen])
