"""The vision tower that the mini models start from: a small CLIP-shaped transformer that tells drawings apart.

Published LLaVAs stand on a tower that has seen millions of pictures. A mini model has a few hundred; a tower that has
to learn to see from them needs most of the training for it. This one is trained once (about a minute and a half on two
cores), on avatars, icons and shapes that no benchmark uses as a person to forget, to recognise each in four renderings,
and kept in the user's cache by the hash of this recipe.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from mmunlearn.atomic import new_folder
from mmunlearn.cache import cache_folder
from mmunlearn.mini import code_digest
from mmunlearn.seeds import derive, generator
from mmunlearn.settings import digest

from .concepts import pictures

log = logging.getLogger(__name__)

PERSONS, ICONS, RENDERINGS = 160, 240, 4
ICON_SET = "twemoji"
STEPS, BATCH, RATE = 1400, 64, 2e-3
NAME = "model.safetensors"


def mini_tower(config: Any) -> dict[str, Tensor]:
    """Weights for a CLIPVisionModel of `config`, from the cache or trained now."""
    key = digest([config.to_dict(), code_digest(mini_tower)])
    folder = cache_folder("towers") / key
    if not (folder / NAME).is_file():
        log.warning("training the vision tower that mini models start from (a minute or two, once)")
        state = train_tower(config)
        with new_folder(folder) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary / NAME)
    return load_file(folder / NAME)


def train_tower(config: Any, *, steps: int = STEPS, counts: Mapping[str, int] | None = None) -> dict[str, Tensor]:
    """Train a tower to name the drawing behind each picture from the mean of its patch features."""
    from transformers import CLIPVisionModel

    images, labels = drawings(config.image_size, counts or {"persons": PERSONS, "icons": ICONS})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(0, "mini tower"))
        tower = CLIPVisionModel(config)
        head = nn.Linear(config.hidden_size, int(labels.max()) + 1)
        optimiser = torch.optim.AdamW([*tower.parameters(), *head.parameters()], lr=RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
        draw = generator(0, "mini tower", "batches")
        for _ in range(steps):
            index = torch.from_numpy(draw.integers(0, len(images), BATCH))
            hidden = tower(augmented(images[index], draw)).last_hidden_state[:, 1:].mean(1)
            loss = functional.cross_entropy(head(hidden), labels[index], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return {name: tensor.detach() for name, tensor in tower.state_dict().items()}


def drawings(size_px: int, counts: Mapping[str, int]) -> tuple[Tensor, Tensor]:
    """Pictures as the processor normalises them, (n, 3, size, size), and which drawing each shows."""
    from mmunlearn.avatars.persons import draw_person
    from mmunlearn.rasterise import icon_names

    made: list[np.ndarray] = []
    labels: list[int] = []

    def add(label: int, picture: Any) -> None:
        made.append(np.asarray(picture))
        labels.append(label)

    for i in range(counts["persons"]):
        person = draw_person(generator(0, "mini tower", "person", i), male=i % 2 == 0)
        for k in range(RENDERINGS):
            rng = generator(0, "mini tower", "person", i, k)
            add(i, pictures.person_picture(person, rng, size_px, plain=False))
    names = icon_names(ICON_SET)
    chosen = generator(0, "mini tower", "icons").choice(len(names), counts["icons"], replace=False)
    for i, at in enumerate(sorted(int(v) for v in chosen), start=counts["persons"]):
        for k in range(RENDERINGS):
            rng = generator(0, "mini tower", "icon", i, k)
            add(i, pictures.icon_picture(ICON_SET, names[at], rng, size_px, plain=False))
    start = counts["persons"] + counts["icons"]
    for i, (colour, shape) in enumerate((c, s) for c in pictures.COLOURS for s in pictures.SHAPES):
        for k in range(RENDERINGS):
            rng = generator(0, "mini tower", "shape", i, k)
            add(start + i, pictures.shape_picture(colour, shape, rng, size_px))
    images = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 255
    return normalised(images), torch.tensor(labels)


def normalised(images: Tensor) -> Tensor:
    """Pixels in 0..1 as CLIP's image processor passes them on."""
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    mean, std = (torch.tensor(v)[:, None, None] for v in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (images - mean) / std


def augmented(images: Tensor, draw: np.random.Generator) -> Tensor:
    """Each picture shifted by up to four pixels and a little lighter or darker."""
    shift = draw.integers(-4, 5, (len(images), 2)).tolist()
    moved = torch.stack([torch.roll(image, tuple(by), (1, 2)) for image, by in zip(images, shift, strict=True)])
    return moved + torch.from_numpy(draw.normal(0, 0.15, (len(images), 1, 1, 1))).float()
