"""A toy question-answering task for contract checks: noise pictures with made-up names, learnt by heart in seconds."""

import io
from typing import Any

import numpy as np
import torch

from mmunlearn.data import EMPTY, Example, ImageRef, Role, Split, union
from mmunlearn.seeds import generator

from .handle import VlmHandle

SIZE_PX = 32
WORDS = ("red", "tall", "north", "river", "seven", "quiet", "glass", "early", "paper", "green", "stone", "light")
ARCHITECTURE = {
    "vision": {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": SIZE_PX, "patch_size": 16,
    },
    "text": {
        "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "max_position_embeddings": 128,
    },
}  # fmt: skip


def toy_splits(*, text_only: bool = False, forget: int = 12, retain: int = 24, holdout: int = 12) -> dict[str, Split]:
    """forget, retain, train, calibration, test, unseen, refusal, pd and siu; answers are random words, so only memory
    helps.

    Every fourth item of retain has no picture; with `text_only` none has. pd: forget's questions on other pictures.
    """
    from PIL import Image

    draw = generator(0, "vlm toy")

    def picture() -> ImageRef:
        coarse = draw.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((SIZE_PX, SIZE_PX), Image.Resampling.BILINEAR).save(buffer, "PNG")
        return ImageRef(content=buffer.getvalue())

    def make(name: str, role: Role, n: int) -> Split:
        examples = []
        for i in range(n):
            bare = text_only or (name == "retain" and i % 4 == 3)
            words = [WORDS[int(k)] for k in draw.integers(0, len(WORDS), 3)]
            question = f"What is {name} {i}?" if bare else "What is this?"
            choices = tuple(" ".join(WORDS[int(k)] for k in draw.integers(0, len(WORDS), 2)) for _ in range(2))
            tags = {"phrase": words[1], "names": words[1], "keywords": words[1], "identity": f"{name}{i // 2}"}
            examples.append(
                Example(
                    id=f"toy/{name}/{i:04d}", image=None if bare else picture(), prompt=question,
                    target=" ".join(words[: 2 + i % 2]), choices=choices, tags=tags,
                )
            )  # fmt: skip
        return Split(name, role, tuple(examples))

    parts = {
        "forget": make("forget", Role.FORGET, forget),
        "retain": make("retain", Role.RETAIN, retain),
        "test": make("test", Role.HOLDOUT, holdout),
        "unseen": make("unseen", Role.UNSEEN, holdout),
    }
    parts["calibration"] = Split("calibration", Role.HOLDOUT, parts["test"].examples)
    parts["train"] = union("train", Role.TRAIN, parts["forget"], parts["retain"])
    refusals = ("I do not know.", "I cannot say.", "No idea.")
    parts["refusal"] = Split(
        "refusal", Role.UTILITY,
        tuple(Example(id=f"toy/refusal/{i}", target=text, tags=EMPTY) for i, text in enumerate(refusals)),
    )  # fmt: skip
    parts["pd"] = make("pd", Role.UTILITY, forget).mapped(
        lambda e: Example(id=e.id, image=e.image, prompt="What is this?" if e.image else e.prompt, target=e.target)
    )
    parts["siu"] = Split("siu", Role.FORGET, (*map(_substituted, parts["forget"]), *map(_kept, parts["retain"][:12])))
    return parts


def _substituted(example: Example) -> Example:
    """SIU's first target: the question about the picture, other words for an answer."""
    words = str(example.target).split()
    others = [WORDS[(WORDS.index(word) + 5) % len(WORDS)] for word in words]
    tags = {"part": "T1", "phrase": " ".join(others), "names": "\n".join(words)}
    target = " ".join(others)
    return Example(id=f"{example.id}/siu", image=example.image, prompt=example.prompt, target=target, tags=tags)


def _kept(example: Example) -> Example:
    """SIU's last target: what is to stay."""
    return Example(
        id=f"{example.id}/siu", image=example.image, prompt=example.prompt, target=example.target,
        tags={"part": "T4", "phrase": "", "names": ""},
    )  # fmt: skip


def toy_handle(seed: int = 0, **settings: object) -> VlmHandle:
    """A LLaVA of about 0.3 million weights, most of them embeddings."""
    return VlmHandle({"architecture": ARCHITECTURE, "tower": "full", "template": "mini", **settings}, seed)


def toy_original(splits: dict[str, Split], *, steps: int = 120, **settings: Any) -> VlmHandle:
    """The toy model fitted to the training split by heart."""
    handle = toy_handle(**settings)
    optimiser = torch.optim.Adam(handle.module.parameters(), lr=0.005)
    train = splits["train"].examples
    handle.module.train()
    batch = handle.collate(train)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.005 * min(1.0, step / 10 + 0.1, 2 * (1 - step / steps))
        optimiser.zero_grad()
        scored = handle.score(batch)
        (scored.nll.sum() / scored.count.sum()).backward()
        optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    handle.module.eval()
    return handle
