"""Muon: momentum whose update is orthogonalised (Jordan 2024), for the hidden matrices, in float32.

torch's own runs its iteration in bfloat16, which this kind of machine emulates at a crawl. Matrices of one shape
are done as one batch. Must not be given embeddings, heads or vectors: those belong to AdamW.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic Newton-Schulz, steep at zero
ROUNDS = 4  # 5 is usual; the last one changes little and costs a twentieth of a step


def orthogonalised(updates: Tensor) -> Tensor:
    """A batch of matrices with their singular values brought near 1."""
    a, b, c = COEFFICIENTS
    tall = updates.shape[-2] > updates.shape[-1]
    x: Tensor = updates.mT if tall else updates
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(Optimizer):
    """`lr` is the size of the update's singular values, so about 0.02 whatever the width."""

    def __init__(
        self, params: Iterable[dict[str, Any]], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                updates = orthogonalised(torch.stack([self._momentum(p, group["momentum"]) for p in parameters]))
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """Nesterov: look one step ahead of the buffer."""
        grad = parameter.grad
        if grad is None:
            raise ValueError("This parameter has no gradient.")
        state = self.state[parameter]
        if "buffer" not in state:
            state["buffer"] = torch.zeros_like(grad)
        buffer: Tensor = state["buffer"]
        buffer.lerp_(grad, 1 - momentum)
        return grad.lerp(buffer, momentum)
