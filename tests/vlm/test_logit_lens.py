"""The logit lens against a literal loop: one forward pass an example and layer, the head row by row."""

import pytest
import torch
from mmunlearn.vlm.handle import VlmHandle
from mmunlearn.vlm.logit_lens import chosen_layers, read, states
from mmunlearn.vlm.toy import toy_handle, toy_splits

from mmunlearn.errors import UserError


@pytest.fixture(scope="module")
def handle():
    return toy_handle()


@pytest.fixture(scope="module")
def examples():
    return toy_splits()["retain"].examples[:6]  # with and without pictures, of different lengths


def literal(handle, example, layer, *, again=False):
    """Log-probabilities at one state of one example, by transformers' own hidden states."""
    ids = handle.prompt_ids(example)
    batch = handle.collate([example])
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    if example.image is not None:
        inputs["pixel_values"] = batch.tensors["pixel_values"]
    with torch.no_grad():
        hidden = handle.module(**inputs, output_hidden_states=True).hidden_states
        state = hidden[layer][0, -1]
        if layer < len(hidden) - 1 or again:
            state = handle.module.model.language_model.norm(state)
        logits = torch.stack([state @ row for row in handle.module.get_output_embeddings().weight])
    return logits.log_softmax(-1)


@pytest.mark.parametrize("again", [False, True])
def test_all_layers_of_all_records_are_those_of_a_loop(handle, examples, again):
    found = read(handle, states(handle, examples, batch_size=4), legacy_double_norm=again)
    assert found.shape[1] == 3 and found.dtype == torch.float32
    for row, example in enumerate(examples):
        for layer in range(3):
            expected = literal(handle, example, layer, again=again)
            torch.testing.assert_close(found[row, layer], expected, atol=2e-5, rtol=1e-5)


def test_the_last_state_is_what_the_model_answers(handle, examples):
    batch = handle.collate(examples)
    logits, _ = handle.score_everywhere(batch)
    starts = [handle.tokens(example)[1] - 1 for example in examples]
    expected = torch.stack([logits[row, at] for row, at in enumerate(starts)]).log_softmax(-1)
    found = read(handle, states(handle, examples), layers=[2])[:, 0]
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


def test_double_norm_changes_the_last_layer_alone(handle, examples):
    seen = states(handle, examples)
    one, two = read(handle, seen), read(handle, seen, legacy_double_norm=True)
    assert torch.equal(one[:, :-1], two[:, :-1])
    assert not torch.allclose(one[:, -1], two[:, -1], atol=1e-4)


def test_layers_that_are_not_there_are_refused():
    assert chosen_layers((), 7, 5) == [2, 3, 4, 5, 6]
    assert chosen_layers((), 3, 5) == [0, 1, 2]
    with pytest.raises(UserError, match="states 0 to 6, not 9"):
        chosen_layers((2, 9), 7, 5)


@pytest.mark.parametrize("family", ["qwen2_vl", "paligemma"])
def test_other_families_have_a_lens(family):
    handle = VlmHandle({"name": f"scratch/{family}"}, 0)
    chosen = toy_splits()["forget"].examples[:2]
    found = read(handle, states(handle, chosen))
    batch = handle.collate(chosen)
    with torch.no_grad():
        logits, _ = handle.score_everywhere(batch)
    starts = [handle.tokens(example)[1] - 1 for example in chosen]
    expected = torch.stack([logits[row, at] for row, at in enumerate(starts)]).log_softmax(-1)
    torch.testing.assert_close(found[:, -1], expected, atol=1e-4, rtol=1e-4)
