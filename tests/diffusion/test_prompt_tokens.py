"""Prompts as token ids: insertion by hand, tags there and back, what the sampler is asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmunlearn.diffusion.prompt_tokens import Coded, coded_of, encoded, layout, prompt_ids, rows_of, tags_of, text_of
from mmunlearn.diffusion.sampler import Request, request_of, sample, sampler_settings
from mmunlearn.diffusion.toy import toy_handle

from mmunlearn.data import Example
from mmunlearn.errors import UserError


@pytest.fixture(scope="module")
def handle():
    return toy_handle()


@pytest.mark.parametrize(
    ("how", "words", "k", "expected"),
    [
        ("prefix", 3, 2, [-1, -2, 0, 1, 2]),
        ("suffix", 3, 2, [0, 1, 2, -1, -2]),
        ("middle", 5, 2, [0, 1, -1, -2, 2, 3, 4]),
        ("insert", 7, 2, [0, 1, -1, 2, 3, -2, 4, 5, 6]),  # runs of 7 // 3
        ("insert", 2, 3, [-1, -2, -3, 0, 1]),  # shorter than k + 1: all come first
        ("per_k_words", 8, 3, [-1, 0, 1, 2, -2, 3, 4, 5, -3, 6, 7]),
        ("per_k_words", 2, 3, [-1, 0, 1, -2, -3]),  # surplus ones at the end
        ("per_k_words", 4, 1, [-1, 0, 1, 2, 3]),
    ],
)
def test_tokens_are_inserted_where_the_reference_inserts_them(how, words, k, expected):
    assert expected == layout(words, k, how)


def test_rows_hold_start_prompt_end_and_padding(handle):
    ids = prompt_ids(handle, "a dog")
    row = rows_of(handle, [ids], ["a dog"]).ids[0][0]
    assert torch.equal(handle.tokenise(["a dog"]).ids[0][0], row)
    full = rows_of(handle, [[320] * 14], [""]).ids[0][0].tolist()
    assert [49406, *[320] * 14, 49407] == full  # an end token always follows
    with pytest.raises(UserError, match="15 tokens does not fit"):
        rows_of(handle, [[320] * 15], [""])


def test_text_says_whether_it_has_the_same_ids_again(handle):
    ids = prompt_ids(handle, "a dog by the sea")
    assert ("a dog by the sea", True) == text_of(handle, ids)
    pieces = [prompt_ids(handle, "x")[0]] * 2  # two words "x x"
    assert text_of(handle, [*pieces, 49407])[1] is False  # an end token is no text
    half = handle.tokenizer.convert_tokens_to_ids("ing")  # a piece that ends no word joins the next one
    assert text_of(handle, [half, *ids])[1] is False


def test_tags_come_back_as_they_were():
    vectors = (np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 4), dtype=np.float32))
    coded = Coded((5, 6, 7), "plain", (0, 2), vectors)
    back = coded_of(Example(id="x", prompt="text", tags=tags_of(coded)))
    assert (coded.ids, coded.plain, coded.at) == (back.ids, back.plain, back.at)
    assert all(np.array_equal(a, b) for a, b in zip(coded.vectors, back.vectors, strict=True))
    assert coded_of(Example(id="x", prompt="text")) is None


@pytest.mark.parametrize(
    "tags",
    [
        {"tokens": "1 x"},
        {"tokens": "1 -2"},
        {"tokens": "1 2", "embeddings": "0;!!!"},
        {"tokens": "1 2", "embeddings": "5;AAAAAA=="},
        {"tokens": "1 2", "embeddings": "0 1;AAAAAA=="},
        {"tokens": "1 2", "embeddings": "a;AAAAAA=="},
    ],
)
def test_damaged_tags_are_refused(tags):
    with pytest.raises(UserError, match="x: its tags"):
        coded = coded_of(Example(id="x", prompt="p", tags=tags))
        assert len(coded.vectors[0][0]) > 0


def test_ids_of_a_text_are_asked_like_the_text(handle):
    how = sampler_settings({"steps": 2})
    ids = tuple(prompt_ids(handle, "a dog"))
    plain = Request("a dog", 3)
    (_, one), (_, two), (_, three) = sample(
        handle, [plain, replace(plain, coded=Coded(ids, "a dog")), Request("a cat", 3)], how
    )
    assert (one.int() - two.int()).abs().max() <= 1
    assert not torch.equal(one, three)


def test_embeddings_take_the_place_of_words(handle):
    table = handle.parts.encoders[0].get_input_embeddings().weight.detach()
    cat, dog = prompt_ids(handle, "a cat"), prompt_ids(handle, "a dog")
    vector = table[dog[1]][None].numpy()
    made = encoded(handle, [Coded(tuple(cat), "a cat", (1,), (vector,)), Coded(tuple(cat), "a cat")])
    assert torch.allclose(handle.encode(["a dog"]).states[0], made.states[0], atol=1e-6)
    assert torch.allclose(handle.encode(["a cat"]).states[0], made.states[1], atol=1e-6)


def test_a_request_may_bring_its_own_guidance(handle):
    how = sampler_settings({"steps": 2, "scale": 1.0})
    goal = Example(id="g", prompt="a dog", tags={"seed": "3", "guidance": "4.0"})
    own = request_of(goal, how, 0)
    assert 4.0 == own.scale
    mixed = [picture for _, picture in sample(handle, [own, Request("a dog", 3)], how)]
    (_, four), = sample(handle, [Request("a dog", 3)], sampler_settings({"steps": 2, "scale": 4.0}))
    (_, one), = sample(handle, [Request("a dog", 3)], how)
    assert (mixed[0].int() - four.int()).abs().max() <= 1 and (mixed[1].int() - one.int()).abs().max() <= 1
