"""How style and object heads are trained: held-in pictures, augmentation, one pass for both losses."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mmunlearn.seeds import derive, generator
from mmunlearn.settings import Settings
from mmunlearn.weights_file import load_strictly, read_weights

from . import head_networks
from .canvas.files import Picture
from .canvas.names import Names
from .picture_files import decode_all

MINI_PX = 64  # largest side at which the small network looks at pictures


class Recipe(Settings):
    """Our recipe: the published classifiers came without one (diffusion 1.3).

    network: "mini" or "timm/<name>". weights: local file that a timm trunk starts from. size_px: 0 for the pictures'
    own size, at most 64 ("mini"), or the network's. held_out: last pictures of each style and object that are never
    trained on (19 and 20 of 20; at most half of the others).
    """

    network: str = "mini"
    weights: str = ""
    size_px: int = Field(0, ge=0)
    steps: int = Field(250, ge=1)
    batch_size: int = Field(64, ge=2)
    rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.02, ge=0)
    smoothing: float = Field(0.05, ge=0, lt=1)
    held_out: int = Field(2, ge=0)
    seed: int = 0


@dataclass(frozen=True)
class Data:
    """Decoded pictures with label indices; `held_in` marks those that are trained on."""

    pictures: UInt8[Tensor, "n 3 size size"]
    styles: Int[Tensor, " n"]
    objects: Int[Tensor, " n"]
    held_in: np.ndarray
    names: Names

    @property
    def size_px(self) -> int:
        """Side of the pictures."""
        return int(self.pictures.shape[-1])


def load(pictures: Sequence[Picture], names: Names, recipe: Recipe) -> Data:
    """All pictures at the recipe's size. Raises UserError for the first that cannot be read."""
    if recipe.size_px:
        size_px = recipe.size_px
    elif recipe.network == "mini":
        size_px = min(MINI_PX, *pictures[0].image.open().size)
    else:
        size_px = head_networks.input_px(recipe.network)
    return Data(
        decode_all([picture.image for picture in pictures], size_px),
        torch.tensor([names.themes.index(picture.style) for picture in pictures]),
        torch.tensor([names.objects.index(picture.object) for picture in pictures]),
        held_in(pictures, recipe.held_out),
        names,
    )


def held_in(pictures: Sequence[Picture], held_out: int) -> np.ndarray:
    """Which pictures are trained on: all but the last `held_out` of each style and object, by number; of fewer than
    five pictures (n - 1) // 2 are held out. (n,) bool."""
    cells: dict[tuple[str, str], list[int]] = {}
    for place, picture in enumerate(pictures):
        cells.setdefault((picture.style, picture.object), []).append(place)
    keep = np.ones(len(pictures), dtype=bool)
    for places in cells.values():
        ordered = sorted(places, key=lambda place: pictures[place].number)
        count = min(held_out, (len(ordered) - 1) // 2)
        keep[ordered[len(ordered) - count :]] = False
    return keep


def train(data: Data, recipe: Recipe) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network and facts about it (held-out accuracies as fractions); deterministic on one machine."""
    started = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    inside = torch.from_numpy(np.flatnonzero(data.held_in))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(recipe.seed, "heads", "init"))
        network = head_networks.two_heads(recipe.network, len(data.names.themes), len(data.names.objects))
        if recipe.weights:
            _start_trunk(network, recipe)
        network.to(device).train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps)
        draw = generator(recipe.seed, "heads", "batches")
        order = _epochs(len(inside), recipe, draw)
        for chosen in order:
            index = inside[torch.from_numpy(chosen)]
            seen = augmented(head_networks.normalised(data.pictures[index]), draw).to(device)
            style, thing, _ = network(seen)
            loss = functional.cross_entropy(style, data.styles[index].to(device), label_smoothing=recipe.smoothing)
            loss = loss + functional.cross_entropy(
                thing, data.objects[index].to(device), label_smoothing=recipe.smoothing
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    network.cpu().eval()
    facts = {"held_in": len(inside), "steps": recipe.steps, "seconds": round(time.perf_counter() - started, 1)}
    return network, facts | accuracies(network, data)


def _epochs(n: int, recipe: Recipe, draw: np.random.Generator) -> list[np.ndarray]:
    """Shuffled batches of equal size, every picture as often as every other but for the last round."""
    size = min(recipe.batch_size, n)
    rounds = -(-recipe.steps * size // n)
    stream = np.concatenate([draw.permutation(n) for _ in range(rounds)])
    return [stream[i * size : (i + 1) * size] for i in range(recipe.steps)]


def _start_trunk(network: nn.Module, recipe: Recipe) -> None:
    """Weights of a pretrained trunk; its own head is left out."""
    weights = {k: v for k, v in read_weights(Path(recipe.weights)).items() if not k.startswith(("head.", "fc."))}
    load_strictly(network.trunk, weights, recipe.weights, "Set network= to what the file holds.")  # type: ignore[arg-type]


def accuracies(network: nn.Module, data: Data) -> dict[str, Any]:
    """held_out: number of held-out pictures; style_top1, object_top1: how often the heads are right on them."""
    outside = torch.from_numpy(np.flatnonzero(~data.held_in))
    right = {"style": 0, "object": 0}
    with torch.inference_mode():
        for index in outside.split(128):
            style, thing, _ = network(head_networks.normalised(data.pictures[index]))
            right["style"] += int((style.argmax(1) == data.styles[index]).sum())
            right["object"] += int((thing.argmax(1) == data.objects[index]).sum())
    n = len(outside)
    return {"held_out": n} | {f"{head}_top1": count / n if n else None for head, count in right.items()}


def augmented(x: Float[Tensor, "n 3 h w"], draw: np.random.Generator) -> Float[Tensor, "n 3 h w"]:
    """Normalised pictures mirrored, moved by up to an eighth, scaled by up to 15 %, lighter or darker, of more or less
    contrast, and a third of them blurred or with noise, as a small diffusion model's pictures are."""
    n = len(x)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(draw.uniform(low, high, shape)).float()

    flip = torch.from_numpy(draw.integers(0, 2, n) * 2 - 1).float()
    scale = uniform(0.87, 1.15, n)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = flip * scale, scale
    theta[:, :, 2] = uniform(-0.25, 0.25, n, 2)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    moved = functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    soft = functional.avg_pool2d(functional.pad(moved, (1, 1, 1, 1), mode="replicate"), 3, 1)
    blur = (uniform(0, 1, n) < 0.2)[:, None, None, None] * uniform(0, 1, n, 1, 1, 1)
    moved = moved + blur * (soft - moved)
    rough = (uniform(0, 1, n) < 0.2)[:, None, None, None] * uniform(0, 0.15, n, 1, 1, 1)
    moved = moved + rough * torch.from_numpy(draw.standard_normal(tuple(x.shape), dtype=np.float32))
    return moved * uniform(0.85, 1.15, n, 1, 1, 1) + uniform(-0.12, 0.12, n, 1, 1, 1)
