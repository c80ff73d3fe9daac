"""Every handle passes the contract battery; the number of checks cannot shrink unseen."""

from collections import Counter
from dataclasses import replace

import pytest
from mmunlearn.diffusion import toy as diffusion_toy
from mmunlearn.vision.toy import toy_handle, toy_splits
from mmunlearn.vlm import toy as vlm_toy

from mmunlearn.testing.handle_checks import Specimen, checks
from mmunlearn.testing.tiny import TinyHandle, TinySettings, tiny_splits

FLOOR = 15  # checks a handle


def tiny(task):
    settings = TinySettings(task=task)
    return Specimen(f"tiny {task}", lambda: TinyHandle(settings), tiny_splits(settings)["forget"].examples[:6])


def vision(labels):
    examples = toy_splits(labels=labels)["forget"].examples[:6]
    return Specimen(f"vision {'labels' if labels else 'classes'}", lambda: toy_handle(labels=labels), examples)


def vlm(name, *, text_only=False, **settings):
    def make():
        handle = vlm_toy.toy_handle()
        return handle.adapted(settings) if settings else handle

    examples = vlm_toy.toy_splits(text_only=text_only)["retain"].examples[:6]  # the fourth has no picture
    return Specimen(f"vlm {name}", make, examples)


SMALL = {"vae": "learned", "sampler": {"steps": 2, "scale": 2.0}}
FLOW = {"vae": "learned", "sampler": {"steps": 2, "scale": 2.0, "scheduler": "flow"}}


def encoders(*names):
    return {"architecture": dict.fromkeys(names, diffusion_toy.ARCHITECTURE["text_encoder"])}


def diffusion(title, **settings):
    def told(example):
        return replace(example, target="a boat", choices=("a boat", "a tree", "a house"))

    examples = [told(e) for e in diffusion_toy.toy_splits()["retain"].examples[:6]]
    return Specimen(f"diffusion {title}", lambda: diffusion_toy.toy_handle(**settings), examples)


SPECIMENS = [
    *(tiny(task) for task in ("classes", "labels", "tokens")),
    *(vision(labels) for labels in (False, True)),
    vlm("full"),
    vlm("text", text_only=True),
    vlm("features", tower="frozen"),
    vlm("lora", tower="frozen", lora={"r": 4}),
    diffusion("sd", augmentation={"flip": True}),
    diffusion("sd, text encoder", **SMALL, trains="text_encoder"),
    diffusion("sdxl", name="scratch/sdxl", **SMALL, **encoders("text_encoder", "text_encoder_2")),
    diffusion("sd3", name="scratch/sd3", **FLOW, **encoders("text_encoder", "text_encoder_2")),
    diffusion("flux", name="scratch/flux", **FLOW, **encoders("text_encoder")),
]
ALL = [check for specimen in SPECIMENS for check in checks(specimen)]


@pytest.mark.parametrize("check", ALL, ids=str)
def test_contract(check):
    check.run()


def test_no_handle_has_fewer_checks_than_the_floor(record_property):
    counts = Counter(check.component for check in ALL)
    for name, count in counts.items():
        record_property(f"checks_{name}", count)
    assert len(SPECIMENS) == len(counts) and min(counts.values()) >= FLOOR
