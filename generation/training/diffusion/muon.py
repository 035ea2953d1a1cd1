"""Muon with AdamW for the rest: fewer pictures for the same loss, which is what counts on two CPU cores.

Each matrix moves by its orthogonalised momentum (Newton-Schulz), so no direction starves. `torch.optim.Muon` does this
in bfloat16, which CPUs without it emulate far too slowly; here everything stays float32. Must not know what it trains.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MOMENTUM, BETAS, EPSILON = 0.95, (0.9, 0.99), 1e-8
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
UPDATE_SIZE = 0.2  # root mean square of one step before the rate: that of AdamW, so both halves share one rate


def orthogonalised(gradient: Tensor, steps: int = 5) -> Tensor:
    """The nearest matrix with singular values near one.

    The steps are taken on the small square (matrix times its transpose) and multiplied in at the end, which for long
    convolution kernels costs a third of taking them on the matrix itself.
    """
    a, b, c = NEWTON_SCHULZ
    matrix = gradient / (gradient.norm() + 1e-7)
    tall = matrix.shape[0] > matrix.shape[1]
    matrix = matrix.T if tall else matrix
    square = matrix @ matrix.T
    one = torch.eye(len(square))
    turned = one
    for _ in range(steps):
        factor = a * one + b * square + c * square @ square
        turned = factor @ turned
        square = factor @ square @ factor
    result: Tensor = turned @ matrix
    return result.T if tall else result


class Muon(Optimizer):
    """Groups marked `muon` are orthogonalised; all others take AdamW steps."""

    def __init__(self, groups: Iterable[dict[str, Any]], rate: float) -> None:
        super().__init__(groups, {"lr": rate, "muon": False, "decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            move = self._turn if group["muon"] else self._adam
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.mul_(1 - group["lr"] * group["decay"])
                    move(weight, group["lr"])

    def _turn(self, weight: Tensor, rate: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum: Tensor = state["momentum"].lerp_(weight.grad, 1 - MOMENTUM)
        ahead = weight.grad.lerp(momentum, MOMENTUM).flatten(1)  # type: ignore[union-attr]
        size = UPDATE_SIZE * max(ahead.shape) ** 0.5
        weight.add_(orthogonalised(ahead).view_as(weight), alpha=-rate * size)

    def _adam(self, weight: Tensor, rate: float) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        done = float(state["step"])
        mean = state["mean"].lerp_(weight.grad, 1 - BETAS[0])
        square = state["square"].mul_(BETAS[1]).addcmul_(weight.grad, weight.grad, value=1 - BETAS[1])
        size = square.div(1 - BETAS[1] ** done).sqrt_().add_(EPSILON)
        weight.addcdiv_(mean, size, value=-rate / (1 - BETAS[0] ** done))


def muon_for(networks: Iterable[nn.Module], rate: float, plain: Iterable[str], decay: float = 0.0) -> Muon:
    """Matrices and kernels by Muon; vectors, and what one of the `plain` names marks (ends, embeddings), by AdamW."""
    plain = tuple(plain)
    turned: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for network in networks:
        for name, weight in network.named_parameters():
            if weight.requires_grad:
                inner = weight.ndim >= 2 and not any(part in name for part in plain)
                (turned if inner else rest).append(weight)
    groups = [{"params": turned, "muon": True, "decay": decay}, {"params": rest, "muon": False, "decay": 0.0}]
    return Muon(groups, rate)
