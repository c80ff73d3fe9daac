"""A toy classification task for contract checks: noise pictures with arbitrary labels, learnt by heart in seconds."""

import io
from typing import Any

import numpy as np
import torch

from mmunlearn.data import Example, ImageRef, Split
from mmunlearn.handle import View
from mmunlearn.seeds import derive, generator
from mmunlearn.testing.parts import toy_parts

from .handle import VisionHandle

SIZE_PX = 16
CLASSES = 4


def toy_splits(*, labels: bool = False, forget: int = 12, retain: int = 24, holdout: int = 12) -> dict[str, Split]:
    """forget, retain, train, calibration, test and unseen; targets are random, so only memory answers them."""
    from PIL import Image

    draw = generator(0, "toy")

    def make(name: str, i: int) -> Example:
        coarse = draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR).save(buffer, "PNG")
        target: Any = int(draw.integers(CLASSES))
        if labels:
            target = tuple(int(v) for v in draw.integers(0, 2, CLASSES))
        return Example(id=f"toy/{name}/{i:04d}", image=ImageRef(content=buffer.getvalue()), target=target)

    return toy_parts(make, forget=forget, retain=retain, holdout=holdout)


def toy_handle(*, labels: bool = False, seed: int = 0) -> VisionHandle:
    """A residual network of about 30,000 parameters with batch norm."""
    return VisionHandle(
        {
            "name": "timm/test_resnet", "head": "labels" if labels else "classes", "classes": CLASSES,
            "size_px": SIZE_PX, "options": {"channels": [8, 12, 16, 24], "stem_width": 8, "stem_type": ""},
        },
        seed,
    )  # fmt: skip


def toy_original(splits: dict[str, Split], *, labels: bool = False, steps: int = 80) -> VisionHandle:
    """The toy network fitted to the training split by heart."""
    handle = toy_handle(labels=labels)
    optimiser = torch.optim.Adam(handle.module.parameters(), lr=0.01)
    train = splits["train"].examples
    handle.module.train()
    for step in range(steps):
        # The rate falls to nothing so that the stored batch statistics catch up with the weights.
        optimiser.param_groups[0]["lr"] = 0.01 * min(1.0, 2 * (1 - step / steps))
        augmented = step % 2 == 1 and step < steps // 2
        batch = handle.collate(train, View(derive(0, "toy"), np.full(len(train), step)) if augmented else None)
        optimiser.zero_grad()
        scored = handle.score(batch)
        (scored.nll.sum() / scored.count.sum()).backward()
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    handle.module.eval()
    return handle
