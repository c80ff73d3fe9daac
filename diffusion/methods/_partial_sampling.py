"""Latents halfway between noise and picture, as the model itself makes them: what image-free methods train on."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmunlearn.errors import UserError

from ..conditioning import Condition
from ..handle import DiffusionHandle


def partial_samples(
    handle: DiffusionHandle,
    noise: Float[Tensor, "batch channel height width"],
    stops: Int[Tensor, "batch stop"],
    pair: tuple[Condition, Condition],
    *,
    steps: int,
    scale: float,
) -> tuple[Float[Tensor, "batch stop channel height width"], Float[Tensor, "batch stop"]]:
    """Latents before the solver's steps `stops` (0: the noise) and their times, on one trajectory a row.

    pair: the prompts' condition and the unconditional one, for guidance at `scale`. Rows leave the batch when their
    last stop is reached. Solvers without memory only (DDIM with eta 0; Euler's rule for flows).
    """
    solver = handle.schedule.solver(
        "flow" if handle.schedule.flow else "ddim", steps, handle.family.picture_tokens(noise)
    )
    if int(stops.max()) >= len(solver.times):
        raise UserError(f"a trajectory of {steps} steps has no step {int(stops.max()) + 1}.")
    latents, rows = solver.start(noise), torch.arange(len(noise))
    found = latents.new_zeros(len(noise), stops.shape[1], *noise.shape[1:])
    for i in range(int(stops.max()) + 1):
        row, column = (stops[rows] == i).nonzero(as_tuple=True)
        found[rows[row].to(noise.device), column.to(noise.device)] = latents[row.to(noise.device)]
        going = (stops[rows].amax(1) > i).nonzero().flatten()
        if not len(going):
            break
        rows, latents = rows[going], latents[going.to(noise.device)]
        t = solver.times[i].to(noise.device)
        made = handle.guided(latents, t, pair[0].index(rows), pair[1].index(rows), scale)
        latents = solver.step(made.to(latents.dtype), latents, i)
    return found, solver.times[stops].to(noise.device)


def random_stops(draws: list[np.random.Generator], steps: int, count: int) -> Int[Tensor, "batch stop"]:
    """`count` different steps of a trajectory for each generator, every step equally likely."""
    return torch.from_numpy(np.stack([draw.choice(steps, size=count, replace=False) for draw in draws])).long()
