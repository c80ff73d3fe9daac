"""A toy text-to-image task for contract checks: six captions of 16 px pictures, learnt by heart in seconds."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mmunlearn.data import Example, ImageRef, Role, Split
from mmunlearn.handle import View
from mmunlearn.seeds import derive, generator
from mmunlearn.testing.parts import toy_parts

from .handle import DiffusionHandle

SIZE_PX = 16
STYLES = ("Van_Gogh", "Ink", "Photo")  # the first is forgotten, the last is its surrogate
OBJECTS = ("Dogs", "Trees")
ARCHITECTURE = {
    "denoiser": {
        "block_out_channels": (24,), "norm_num_groups": 4, "attention_head_dim": 4, "mid_block_type": None,
        "down_block_types": ("CrossAttnDownBlock2D",), "up_block_types": ("CrossAttnUpBlock2D",),
    },
    # Six pictures are told apart in almost any noise, so captions would not matter: noise is strong here, and the error
    # of v counts what is hidden by it.
    "scheduler": {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02, "prediction_type": "v_prediction"},
    "text_encoder": {
        "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "max_position_embeddings": 16,
    },
}  # fmt: skip
SEEDS = (188, 288)
LR = 0.005


def caption(style: str, thing: str) -> str:
    """The benchmark's prompt, underscores as spaces."""
    return f"A {thing} image in {style} style.".replace("_", " ")


def toy_splits(*, forget: int = 8, retain: int = 16, holdout: int = 8) -> dict[str, Split]:
    """The splits of UnlearnCanvas: forget, retain, train, calibration, test, unseen with pictures; concept, anchor and
    answers without. Each caption has a picture of its own, drawn at random, which its examples vary slightly."""
    draw = generator(0, "diffusion toy")
    bases = {(s, o): draw.integers(0, 256, (4, 4, 3)) for s in STYLES for o in OBJECTS}
    others = {name: draw.integers(0, 256, (4, 4, 3)) for name in ("test", "unseen")}

    def make(name: str, i: int) -> Example:
        style = STYLES[0] if name == "forget" else STYLES[1 + i // 2 % 2]
        thing = OBJECTS[i % 2]
        base = others.get(name, bases[style, thing])
        return Example(
            id=f"toy/{name}/{i:04d}", image=_picture(base + draw.integers(-12, 13, (4, 4, 3))),
            prompt=caption(style, thing), tags=_tags(style, thing),
        )  # fmt: skip

    parts = toy_parts(make, forget=forget, retain=retain, holdout=holdout)
    forgotten, surrogate = STYLES[0], STYLES[-1]
    parts["concept"] = Split(
        "concept", Role.FORGET,
        tuple(
            Example(
                id=f"toy/concept/{o}", prompt=caption(forgotten, o), target=caption(surrogate, o),
                tags=_tags(forgotten, o),
            )
            for o in OBJECTS
        ),
    )  # fmt: skip
    parts["anchor"] = Split(
        "anchor", Role.RETAIN,
        tuple(
            Example(id=f"toy/anchor/{s}/{o}", prompt=caption(s, o), tags=_tags(s, o))
            for s in STYLES[1:] for o in OBJECTS
        ),
    )  # fmt: skip
    parts["answers"] = Split(
        "answers", Role.UTILITY,
        tuple(
            Example(
                id=f"toy/answers/{s}/{o}/{seed}", prompt=caption(s, o),
                tags={**_tags(s, o), "seed": str(seed), "file": f"{s}_{o}_seed{seed}.jpg"},
            )
            for s in STYLES for o in OBJECTS for seed in SEEDS
        ),
    )  # fmt: skip
    return parts


def _tags(style: str, thing: str) -> Mapping[str, str]:
    words = {"phrase": STYLES[0], "surrogate": STYLES[-1]}
    return {"style": style, "object": thing, **{key: word.replace("_", " ") for key, word in words.items()}}


def _picture(coarse: np.ndarray) -> ImageRef:
    from PIL import Image

    buffer = io.BytesIO()
    small = Image.fromarray(coarse.clip(0, 255).astype(np.uint8))
    small.resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR).save(buffer, "PNG")
    return ImageRef(content=buffer.getvalue())


def toy_handle(seed: int = 0, **settings: object) -> DiffusionHandle:
    """A small Stable Diffusion over rearranged pixels; its sampler takes few steps."""
    content = {
        "name": "scratch/sd", "architecture": ARCHITECTURE, "size_px": SIZE_PX, "vae": "unshuffle",
        "sampler": {"steps": 5, "scale": 2.0}, **settings,
    }  # fmt: skip
    return DiffusionHandle(content, seed)


def toy_original(splits: Mapping[str, Split], *, steps: int = 240, **settings: Any) -> DiffusionHandle:
    """The toy model fitted to the training split."""
    handle = toy_handle(**settings)
    optimiser = torch.optim.Adam([p for _, p in handle.trainable()], lr=LR)
    train = splits["train"].examples
    handle.module.train()
    size = len(train) // 3
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = LR * min(1.0, step / 10 + 0.1, 2 * (1 - step / steps))
        part = [train[i % len(train)] for i in range(step * size, (step + 1) * size)]
        batch = handle.collate(part, View(derive(0, "toy"), np.full(size, step)))
        optimiser.zero_grad()
        scored = handle.score(batch)
        (scored.nll.sum() / scored.count.sum()).backward()
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    handle.module.eval()
    return handle
