"""What the compiler wanted to do and could not, in words, for `--explain` and the manifest."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Explain:
    """Collected while one model is built; each entry names what was declined and why."""

    declined: list[str] = field(default_factory=list)

    def decline(self, what: str, why: str) -> None:
        """`what` is a rule and its place: "packed matmul of fused_matmul_add3"."""
        entry = f"{what}: {why}"
        if entry not in self.declined:
            self.declined.append(entry)
