"""Prompts that repeat in a batch against the same prompts asked one by one, for every family."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmunlearn.vlm import single_edits
from mmunlearn.vlm.handle import VlmHandle
from mmunlearn.vlm.repeated_prompts import repeats
from mmunlearn.vlm.single_edits import Edits
from PIL import Image

from mmunlearn.data import Example, ImageRef
from mmunlearn.handle import Decoding

NAMES = (
    "idefics3", "internvl", "llava", "llava_next", "llava_phi", "mllama", "paligemma", "qwen2_5_vl", "qwen2_vl",
    "qwen3_vl",
)  # fmt: skip
WHOLE = {"mllama", "paligemma", "qwen2_5_vl", "qwen2_vl", "qwen3_vl"}


def picture(number: int) -> ImageRef:
    noise = np.random.default_rng(number).integers(0, 256, (32 + 8 * number, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    return ImageRef(content=stream.getvalue())


def made(name: str) -> VlmHandle:
    handle = VlmHandle({"name": f"scratch/{name}", **({"template": "mini"} if name == "llava" else {})})
    drawn = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in handle.module.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 1.5 / parameter[0].numel() ** 0.5, generator=drawn)
    return handle


def asked() -> list[Example]:
    """Two pictures, two questions of unlike length, each pair three times; record tags alternate."""
    pairs = [(image, text) for image in (picture(0), picture(1)) for text in ("Who?", "Where does this person live?")]
    return [
        Example(id=f"a/{n}/{k}", image=image, prompt=text, tags={"record": "ab"[n % 2]})
        for k in range(3)
        for n, (image, text) in enumerate(pairs)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_draws_of_repeated_prompts_are_those_of_each_asked_alone(name) -> None:
    handle, examples = made(name), asked()
    prompts = [handle.prompt_ids(example) for example in examples]
    found = repeats(handle, examples, prompts)
    assert (name in WHOLE) == (found is None)
    for temperature in (0.0, 0.7):
        how = Decoding(64, 5, temperature, {"score": False})
        together = [row.fields["text"] for row in handle.respond(examples, how, 3)]
        alone = [handle.respond([example], how, 3)[0].fields["text"] for example in examples]
        assert alone == together
    assert len(set(together[:4])) > 1 and len({together[0], together[4], together[8]}) > 1


def test_a_prompt_repeats_only_with_its_picture_and_its_record_s_edit() -> None:
    handle, examples = made("llava"), asked()
    prompts = [handle.prompt_ids(example) for example in examples]
    assert ([0, 1, 2, 3], [0, 1, 2, 3] * 3) == repeats(handle, examples, prompts)
    assert repeats(handle, examples[:4], prompts[:4]) is None
    other = [*examples[:4], replace(examples[0], id="other", tags={"record": "b"})]
    assert ([0, 1, 2, 3], [0, 1, 2, 3, 0]) == repeats(handle, other, [*prompts[:4], prompts[0]])
    single_edits.attach(handle.model, edits(handle))
    assert repeats(handle, other, [*prompts[:4], prompts[0]]) is None


def test_every_row_of_repeated_prompts_keeps_its_record_s_edit() -> None:
    handle, examples = made("llava"), asked()
    how = Decoding(64, 5, 0.0, {"score": False})
    before = [row.fields["text"] for row in handle.respond(examples, how, 0)]
    single_edits.attach(handle.model, edits(handle))
    both = [*examples, *(replace(e, id=f"{e.id}/b", tags={"record": "b"}) for e in examples)]
    together = [row.fields["text"] for row in handle.respond(both, how, 0)]
    assert [handle.respond([example], how, 0)[0].fields["text"] for example in both] == together
    first, second = together[: len(examples)], together[len(examples) :]
    assert first != second and before != together[: len(examples)]


def edits(handle: VlmHandle) -> Edits:
    """Large edits of two records in the second block."""
    path = "model.language_model.layers.1.mlp.down_proj"
    weight = handle.model.get_submodule(path).weight
    drawn = torch.Generator().manual_seed(2)
    down = torch.randn(2, 1, weight.shape[1], generator=drawn)
    return Edits(path, ("a", "b"), down=down, up=torch.randn(2, weight.shape[0], 1, generator=drawn))
