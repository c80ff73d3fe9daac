"""Every family through the handle, against transformers' own processor, loss and generation, one example at a time."""

import io

import numpy as np
import pytest
import torch
from mmunlearn.vlm.families.find import families
from mmunlearn.vlm.handle import VlmHandle
from PIL import Image

from mmunlearn.data import Example, ImageRef
from mmunlearn.handle import Decoding

NAMES = (
    "idefics3", "internvl", "llava", "llava_next", "llava_phi", "mllama", "paligemma", "qwen2_5_vl",
    "qwen2_vl", "qwen3_vl",
)  # fmt: skip
HANDLES: dict[str, VlmHandle] = {}
SIZES = ((40, 60), (64, 32), (30, 30), (90, 40))


def picture(number: int) -> ImageRef:
    width, height = SIZES[number % len(SIZES)]
    noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    return ImageRef(content=stream.getvalue())


def examples() -> list[Example]:
    """Pictures of several shapes, two questions on one of them, and two without a picture, all of other lengths."""
    asked = [
        ("Who is this?", "Ann Lee."), ("Where does this person live, and since when?", "In a northern town."),
        ("Name the job.", "A painter of rivers and of stones."), ("When?", "1984"), ("What is seven?", "A number."),
        ("Who?", "Nobody that I know of."),
    ]  # fmt: skip
    pictures = [picture(0), picture(1), picture(1), picture(2), None, None]
    return [
        Example(id=f"family/{i}", image=image, prompt=question, target=answer)
        for i, (image, (question, answer)) in enumerate(zip(pictures, asked, strict=True))
    ]


def enlarged(handle: VlmHandle) -> VlmHandle:
    """Larger random weights: outputs then depend on pictures and words, so that a wrong mask or place shows."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in handle.module.parameters():
            if parameter.dim() > 1:
                fan = parameter[0].numel()
                parameter.normal_(0, 1.5 / fan**0.5, generator=generator)
    return handle


def made(name: str, **settings) -> VlmHandle:
    template = {"template": "mini"} if name == "llava" else {}
    return enlarged(VlmHandle({"name": f"scratch/{name}", **template, **settings}))


@pytest.fixture(params=NAMES)
def handle(request) -> VlmHandle:
    if request.param not in HANDLES:
        HANDLES[request.param] = made(request.param)
    return HANDLES[request.param]


def by_processor(handle: VlmHandle, example: Example, answer: str = ""):
    """What transformers' own processor makes of the whole text."""
    prompt = handle._prompt(example)
    image = example.image.open() if example.image else None
    if handle.family.types == ("paligemma",):
        # Its processor writes the marks itself and takes the answer apart, ended by the end token.
        if image is None:
            ids = handle.tokenizer(prompt.text + answer, add_special_tokens=False, return_tensors="pt")
            length = len(handle.tokenizer(prompt.text, add_special_tokens=False).input_ids)
            kinds = (torch.arange(ids["input_ids"].shape[1]) >= length).long()[None]
            return {"input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"], "token_type_ids": kinds}
        suffix = {"suffix": answer.removesuffix("<eos>")} if answer else {}
        tensors = handle.processor(text=f"<image>{example.prompt}", images=image, return_tensors="pt", **suffix)
        tensors.pop("labels", None)
        return dict(tensors)
    text = prompt.text + answer
    start = handle.tokenizer.bos_token
    once = {"add_special_tokens": not (start and text.startswith(start))}
    if image is None:
        return dict(handle.tokenizer(text, return_tensors="pt", **once))
    return dict(handle.processor(text=text, images=image, return_tensors="pt", **once))


def whole_answer(handle: VlmHandle, example: Example) -> str:
    prompt = handle._prompt(example)
    blank = " " if prompt.text.endswith(":") else ""
    return blank + example.target + prompt.end


def by_model(handle: VlmHandle, example: Example) -> float:
    """Summed loss of the answer by the model's own forward pass on full logits."""
    tensors = by_processor(handle, example, whole_answer(handle, example))
    ids = tensors["input_ids"][0]
    start = len(by_processor(handle, example)["input_ids"][0])
    with torch.no_grad():
        logp = handle.module(**tensors).logits[0].double().log_softmax(-1)
    return -sum(logp[t - 1, ids[t]].item() for t in range(start, len(ids)))


def scores(handle: VlmHandle, chosen) -> list[float]:
    with torch.no_grad():
        return handle.score(handle.collate(chosen)).nll.tolist()


def test_every_family_file_has_a_case() -> None:
    assert {family.__module__.rsplit(".", 1)[-1] for family in families().values()} == set(NAMES) - {"llava_phi"}


def test_tokens_equal_those_of_the_processor(handle) -> None:
    for example in examples():
        expected = by_processor(handle, example, whole_answer(handle, example))["input_ids"][0].tolist()
        assert expected == list(handle.tokens(example)[0])


def test_picture_tensors_equal_those_of_the_processor(handle) -> None:
    plain = handle.adapted({"features": False})
    for example in examples()[:4]:
        expected = by_processor(handle, example, whole_answer(handle, example))
        got = plain.collate([example]).tensors
        missing = set(expected) - set(got)
        assert set() == missing
        for name, tensor in expected.items():
            value = got[name]
            if name in {"pixel_values", "pixel_attention_mask"}:
                tensor, value = tensor.reshape(value.shape), value
            assert torch.equal(tensor, value), name


def test_exactly_the_answer_and_the_end_token_are_supervised(handle) -> None:
    chosen = examples()
    batch = handle.collate(chosen)
    for example, labels in zip(chosen, batch.tensors["labels"], strict=True):
        ids = labels[labels != -100].tolist()
        end = handle.tokenizer.convert_tokens_to_ids(handle._prompt(example).end)
        assert end == ids[-1]
        assert example.target == handle.tokenizer.decode(ids[:-1]).strip()
        assert end not in ids[:-1]
    assert [int((row != -100).sum()) for row in batch.tensors["labels"]] == batch.count.tolist()


def test_scores_in_one_mixed_batch_equal_the_models_own_loss(handle) -> None:
    chosen = examples()
    expected = [by_model(handle, example) for example in chosen]
    assert expected == pytest.approx(scores(handle, chosen), rel=1e-4, abs=1e-4)
    assert 1.0 < min(expected)  # random answers are unlikely: nothing was left out


def test_scores_depend_on_the_picture(handle) -> None:
    one = examples()[0]
    other = Example(id="family/other", image=picture(4), prompt=one.prompt, target=one.target)
    first, second = scores(handle, [one, other])
    assert abs(first - second) > 1e-3


def test_batches_of_any_composition_give_equal_scores(handle) -> None:
    chosen = examples()
    expected = scores(handle, chosen)
    assert expected == pytest.approx([scores(handle, [example])[0] for example in chosen], rel=1e-4, abs=1e-4)
    assert expected[::-1] == pytest.approx(scores(handle, chosen[::-1]), rel=1e-4, abs=1e-4)


def test_kept_tower_features_give_the_scores_and_gradients_of_pixels(handle) -> None:
    chosen = examples()
    found = []
    for features in (True, False):
        same = handle.adapted({"features": features})
        batch = same.collate(chosen)
        assert features == ("features" in batch.tensors)
        same.module.zero_grad()
        nll = same.score(batch).nll
        nll.sum().backward()
        gradients = [p.grad.clone() for p in same.family.projector(same.module).parameters()]
        assert all(gradient.abs().sum() > 0 for gradient in gradients if gradient.dim() > 1)
        found.append((nll.detach(), gradients))
    handle.module.zero_grad()
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-4)
    for kept, computed in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(kept, computed, rtol=1e-3, atol=1e-3 * float(computed.abs().max()))


def test_left_padded_generation_equals_one_by_one_and_transformers_own(handle) -> None:
    chosen = examples()
    together = handle.complete(chosen, Decoding(batch_size=6, max_new_tokens=8), 0)
    alone = handle.complete(chosen, Decoding(batch_size=1, max_new_tokens=8), 0)
    assert alone == together
    for example, text in zip(chosen, together, strict=True):
        tensors = by_processor(handle, example)
        ids = handle.module.generate(
            **tensors, max_new_tokens=8, do_sample=False, eos_token_id=handle.end_ids(), pad_token_id=handle.pad_id()
        )[0, tensors["input_ids"].shape[1] :].tolist()
        ids = ids[: next((k for k, token in enumerate(ids) if token in handle.end_ids()), len(ids))]
        assert handle.tokenizer.decode(ids, skip_special_tokens=True).strip() == text


def test_tower_projector_and_language_model_share_no_weight(handle) -> None:
    family, model = handle.family, handle.module
    parts = [family.tower_parameters(model), list(family.projector(model).parameters())]
    parts.append(list(family.language(model).parameters()))
    groups = [{id(p) for p in part} for part in parts]
    assert all(groups)
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert not any(p.requires_grad for p in parts[0])
    assert all(p.requires_grad for part in parts[1:] for p in part)


@pytest.mark.parametrize("name", NAMES)
def test_adapters_lie_on_every_linear_layer_of_the_language_model_alone(name) -> None:
    handle = made(name, lora={"r": 2, "alpha": 4})
    model, family = handle.model, handle.family
    adapted = {n.split(".lora_A")[0] for n, _ in model.named_parameters() if ".lora_A" in n}
    linear = {
        n.removesuffix(".base_layer")
        for n, m in model.named_modules()
        if isinstance(m, torch.nn.Linear) and n.startswith(family.language_path + ".") and ".lora_" not in n
    }
    assert linear == adapted
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all(".lora_" in n or ".modules_to_save." in n for n in trained)
    batch = handle.collate(examples())
    handle.score(batch).nll.sum().backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert [] == missing


def test_a_saved_folder_is_read_by_transformers_and_by_the_handle(handle, tmp_path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    handle.save(tmp_path)
    again = VlmHandle.load(tmp_path)
    assert scores(handle, examples()) == scores(again, examples())
    assert type(handle.module) is type(AutoModelForImageTextToText.from_pretrained(tmp_path))
    assert type(handle.processor) is type(AutoProcessor.from_pretrained(tmp_path))
