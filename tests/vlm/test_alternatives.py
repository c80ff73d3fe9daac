"""Alternatives behind one kept prefix against scoring each by itself, for every family."""

import io

import numpy as np
import pytest
import torch
from mmunlearn.vlm.alternatives import alternatives
from mmunlearn.vlm.handle import VlmHandle
from PIL import Image

from mmunlearn.data import Example, ImageRef
from mmunlearn.handle import Decoding

NAMES = (
    "idefics3", "internvl", "llava", "llava_next", "llava_phi", "mllama", "paligemma", "qwen2_5_vl", "qwen2_vl",
    "qwen3_vl",
)  # fmt: skip
ANSWERS = (("Ann Lee.", "A painter of rivers.", "x"), ("In the north.",), ("1984", "Seven, or even eight stones."))


def picture(number: int, width: int, height: int) -> ImageRef:
    noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    return ImageRef(content=stream.getvalue())


def groups(pictures) -> list[list[Example]]:
    questions = ("Who is this?", "Where does this person live, and since when?", "When?")
    return [
        [Example(id=f"a/{image and image.digest}/{q}", image=image, prompt=prompt, target=answer) for answer in answers]
        for q, (image, prompt, answers) in enumerate(zip(pictures, questions, ANSWERS, strict=True))
    ]


def made(name: str) -> VlmHandle:
    handle = VlmHandle({"name": f"scratch/{name}", **({"template": "mini"} if name == "llava" else {})})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in handle.module.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 1.5 / parameter[0].numel() ** 0.5, generator=generator)
    return handle


@pytest.mark.parametrize("name", NAMES)
def test_statistics_equal_those_of_each_example_by_itself(name) -> None:
    handle = made(name)
    pictured = (picture(0, 40, 60), picture(1, 64, 32), picture(2, 30, 30))
    cases = [groups(pictured), groups((None,) * 3)]
    if handle.family.mixed:
        cases.append(groups((pictured[0], None, pictured[1])))
    for asked in cases:
        got = alternatives(handle, asked)
        for group, rows in zip(asked, got, strict=True):
            for example, row in zip(group, rows, strict=True):
                with torch.inference_mode():
                    expected, _ = handle.token_stats(handle.collate([example]))
                torch.testing.assert_close(row.logprob, expected.logprob, rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(row.mu, expected.mu, rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(row.var, expected.var, rtol=1e-3, atol=1e-3)
                assert int((row.rank - expected.rank).abs().max()) <= 2  # neighbours may swap by rounding


def test_answers_of_one_token_need_no_second_pass() -> None:
    handle = made("llava").adapted({"labels": "offside"})
    example = Example(id="a", prompt="Who?", target="a")
    assert 1 == len(handle.tokens(example)[0]) - handle.tokens(example)[1]
    expected, _ = handle.token_stats(handle.collate([example]))
    assert expected.logprob.item() == pytest.approx(alternatives(handle, [[example]])[0][0].logprob.item(), rel=1e-4)


def test_other_prompts_in_one_group_are_refused() -> None:
    handle = made("llava")
    two = [Example(id="a", prompt="Who?", target="x"), Example(id="b", prompt="When?", target="x")]
    with pytest.raises(AssertionError, match="share their prompt"):
        alternatives(handle, [two])


def test_responses_hold_targets_and_choices_as_if_each_were_scored_alone() -> None:
    handle = made("llava")
    mixed = [
        Example(id="r/0", image=picture(0, 40, 60), prompt="Who?", target="Ann Lee.", choices=("Bob.", "A long name.")),
        Example(id="r/1", prompt="When?", target="1984"),
        Example(id="r/2", image=picture(1, 30, 30), prompt="Where is it?", choices=("North.",)),
        Example(id="r/3", image=picture(1, 30, 30), prompt="Nothing to score"),
    ]
    for size in (1, 3, 64):
        got = [row.fields for row in handle.respond(mixed, Decoding(batch_size=size, max_new_tokens=0), 0)]
        for example, fields in zip(mixed, got, strict=True):
            assert (example.target is not None) == ("nll" in fields)
            if example.target is not None:
                score = handle.score(handle.collate([example]))
                assert score.nll.item() == pytest.approx(fields["nll"], rel=1e-4)
                assert -score.nll.item() == pytest.approx(sum(fields["token_logprob"]), rel=1e-4)
                assert [fields["count"]] * 4 == [len(fields[f"token_{k}"]) for k in ("logprob", "mu", "var", "rank")]
                assert fields["count"] == score.count.item()
            alone = [handle.score(handle.collate([example.with_target(choice)])) for choice in example.choices]
            assert [a.nll.item() for a in alone] == pytest.approx(fields.get("choices_nll", []), rel=1e-4)
            assert [a.count.item() for a in alone] == fields.get("choices_count", [])
            for choice, first in zip(example.choices, fields.get("choices_first_nll", []), strict=True):
                stats, _ = handle.token_stats(handle.collate([example.with_target(choice)]))
                assert -stats.logprob[0].item() == pytest.approx(first, rel=1e-4)


def test_fiubenchs_builder_folds_the_case_of_the_paraphrase_and_not_of_the_untrue_answers() -> None:
    handle = made("llava").adapted({"labels": "fiubench"})
    choices = ("Ann Lee.", "Bob Ray.", "Ann Lee.")
    example = Example(id="r/0", image=picture(0, 40, 60), prompt="Who?", target="Ann Lee.", choices=choices)
    (row,) = handle.respond([example], Decoding(batch_size=8, max_new_tokens=0), 0)
    folded = handle.score(handle.collate([example])).nll.item()  # "Ann lee."
    assert [folded, row.fields["nll"]] == pytest.approx([row.fields["choices_nll"][0]] * 2, rel=1e-4)
    plain = handle.adapted({"labels": "clean"})
    head = handle.tokens(example)[1]
    ids = plain.tokens(example)[0][:-1]  # the same text in its own case, without the end token
    with torch.no_grad():
        batch = plain.collate([example])
        logits = plain.score_everywhere(batch)[0][0].log_softmax(-1)
    expected = -sum(logits[t - 1, ids[t]].item() for t in range(head, len(ids)))
    assert expected == pytest.approx(row.fields["choices_nll"][2], rel=1e-4)
    assert row.fields["choices_nll"][0] != pytest.approx(row.fields["choices_nll"][2], rel=1e-3)
