"""The gradient of a model that has none, by queries in latent space.

Along orthonormal directions q_i the antithetic differences d_i = (M(z + h q_i) - M(z - h q_i)) / 2h are M's slopes, and
sum_i d_i q_i is its gradient projected on their span.  With Haar-distributed directions (orthonormalised Gaussians:
Choromanski et al. 2018, Structured evolution with compact architectures) the squared cosine between a fixed gradient
and its projection has mean n / dim.  A Newton step along the projection solves a linear M exactly, whatever n is.
The last projection may be kept as one of the directions (Maheswaranathan et al. 2019, Guided evolutionary
strategies), so what earlier steps learned is not thrown away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lvcf.models.targets.base import QueryPlan

Read = Callable[[Tensor, Tensor], Tensor]
"""Latents and the batch's rows they belong to, to M's output."""
Draw = Callable[[Tensor, torch.Size], Tensor]
"""Gaussian noise of a shape for each row, from its own generator."""


def probe_directions(drawn: Tensor, shape: torch.Size, known: Tensor) -> Tensor:
    """Orthonormal directions ``(B, n, C, F, H, W)``, the first along ``known``.

    Args:
        drawn: Gaussian noise ``(B, n, C, F, h, w)`` on a grid as fine as the latent's or coarser.
        shape: the latent's ``(C, F, H, W)``.
        known: an earlier gradient ``(B, C, F, H, W)``, to be among the directions; zeros for none.
    """
    noise = rearrange(drawn, "b n ... -> (b n) ...")
    if noise.shape[2:] != shape[1:]:
        noise = functional.interpolate(noise, size=shape[1:], mode="trilinear", align_corners=False)
    directions = noise.view(*drawn.shape[:2], -1).clone()
    has = known.flatten(1).norm(dim=1) > 0
    directions[has, 0] = known.flatten(1)[has]
    basis, _ = torch.linalg.qr(directions.transpose(1, 2))
    result: Tensor = basis.transpose(1, 2).reshape(*drawn.shape[:2], *shape)
    return result


def slopes(read: Read, z: Tensor, rows: Tensor, directions: Tensor, step: float, asked: Tensor, batch: int) -> Tensor:
    """Antithetic differences of M along ``directions`` ``(B, n, ...)``: ``(B, n)``, or ``(B, n, K)`` for K outputs.

    Args:
        read: latents and their rows to M's output.
        z: ``(B, ...)``.
        rows: the batch's row of each ``(B,)``.
        directions: unit vectors.
        step: length of a probe.
        asked: bool ``(B, n)``: which are asked about; the others' slopes are 0.
        batch: latents read at once.
    """
    places, which = asked.nonzero(as_tuple=True)
    if not len(places):
        return z.new_zeros(asked.shape)  # for every output
    parts = []
    pairs = max(-(-2 * len(places) // batch), 1)
    for place, one in zip(places.chunk(pairs), which.chunk(pairs), strict=True):
        probe = step * directions[place, one]
        output = read(torch.cat([z[place] + probe, z[place] - probe]), rows[place].repeat(2))
        above, below = output.double().chunk(2)
        parts.append((above - below) / (2.0 * step))
    found = torch.cat(parts).to(z.dtype)
    result = found.new_zeros(*asked.shape, *found.shape[1:])
    result[places, which] = found
    return result


class QueriedOutput(torch.autograd.Function):
    """M's output, whose derivative is made of slopes along directions."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, output: Tensor, directions: Tensor, slope: Tensor) -> Tensor:
        """``output`` itself; ``directions`` ``(B, n, ...)`` and ``slope`` ``(B, n[, K])`` say how it changes with z."""
        ctx.save_for_backward(directions, slope)
        return output.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        """The chain rule on the projected Jacobian."""
        directions, slope = ctx.saved_tensors
        per_direction = torch.einsum("bn...,b...->bn", slope, upstream)
        return torch.einsum("bn,bn...->b...", per_direction, directions), None, None, None


@dataclass
class Ledger:
    """What queries for gradients have cost and found, per row of a batch.

    Attributes:
        spent: queries so far.
        known: the last gradient found.
    """

    spent: Counter[int] = field(default_factory=Counter)
    known: dict[int, Tensor] = field(default_factory=dict)

    def affordable(self, rows: list[int], directions: int, budget: int) -> Tensor:
        """Book two queries per direction while ``budget`` lasts: bool ``(len(rows), directions)``."""
        asked = torch.zeros(len(rows), directions, dtype=torch.bool)
        for place, row in enumerate(rows):
            pairs = min(directions, (budget - self.spent[row]) // 2)
            self.spent[row] += 2 * pairs
            asked[place, :pairs] = True
        return asked


def queried(read: Read, z: Tensor, rows: Tensor, plan: QueryPlan, draw: Draw, ledger: Ledger) -> Tensor:
    """M's output at ``z`` ``(B, C, F, H, W)``, with a gradient by queries where one is asked for.

    Args:
        read: latents and their rows to M's output.
        z: latents.
        rows: their rows.
        plan: how many directions, how far, within which budget; a row that has spent it gets a gradient of 0.
        draw: noise ``(B, *shape)`` for the rows.
        ledger: the batch's.
    """
    with torch.no_grad():
        output = read(z, rows)
    if not (torch.is_grad_enabled() and z.requires_grad):
        return output
    with torch.no_grad():
        coarse = torch.Size([*z.shape[1:3], *(-(-length // plan.grid) for length in z.shape[3:])])
        number = min(plan.directions, coarse.numel())
        drawn = draw(rows, torch.Size([number, *coarse])).to(z)
        known = torch.stack([ledger.known.get(row, torch.zeros_like(z[0])) for row in rows.tolist()])
        directions = probe_directions(drawn, z.shape[1:], known)
        asked = ledger.affordable(rows.tolist(), number, plan.budget).to(z.device)
        step = plan.radius * z[0].numel() ** 0.5
        slope = slopes(read, z, rows, directions, step, asked, plan.batch)

    def remember(gradient: Tensor) -> None:
        ledger.known.update((row, one) for row, one in zip(rows.tolist(), gradient, strict=True) if one.any())

    z.register_hook(remember)  # type: ignore[no-untyped-call]
    result: Tensor = QueriedOutput.apply(z, output, directions, slope)
    return result
