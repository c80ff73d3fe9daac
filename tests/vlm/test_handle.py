import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmunlearn.vlm.handle import VlmHandle
from mmunlearn.vlm.refusals import REFUSALS
from mmunlearn.vlm.toy import toy_handle, toy_splits

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding, weights_digest


@pytest.fixture(scope="module")
def handle():
    return toy_handle()


@pytest.fixture(scope="module")
def splits():
    return toy_splits()


def mixed(splits):
    return splits["retain"].examples[1:5]  # one of them has no picture


def test_score_is_the_loss_that_transformers_computes(handle, splits):
    batch = handle.collate(mixed(splits))
    inputs = {k: v for k, v in batch.tensors.items() if k != "target"}
    with torch.no_grad():
        theirs = handle.module(**inputs).loss
        ours = handle.score(batch)
    assert torch.allclose(theirs, ours.nll.sum() / ours.count.sum(), atol=1e-5)


def test_logits_are_given_where_a_method_asks_and_agree_with_the_fused_pass(handle, splits):
    batch = handle.collate(mixed(splits))
    with torch.no_grad():
        fused = handle.score(batch)
        handle.keep_logits = True
        whole = handle.score(batch)
        handle.keep_logits = False
    assert fused.logits is None
    assert torch.allclose(fused.nll, whole.nll, atol=1e-5)
    picked = whole.logits.log_softmax(-1).gather(-1, whole.targets[..., None])[..., 0]
    assert torch.allclose(-(picked * whole.mask).sum(-1), whole.nll, atol=1e-5)


def test_responses_hold_the_statistics_of_answer_and_choices(handle, splits):
    example = splits["forget"].examples[0]
    row = handle.respond([example], Decoding(max_new_tokens=0), 0)[0].fields
    with torch.no_grad():
        scored = [
            handle.score(handle.collate([example.with_target(text)])) for text in (example.target, *example.choices)
        ]
    assert np.isclose(float(scored[0].nll), row["nll"], atol=1e-4) and int(scored[0].count) == row["count"]
    assert np.allclose([float(s.nll) for s in scored[1:]], row["choices_nll"], atol=1e-4)
    assert np.isclose(-sum(row["token_logprob"]), row["nll"], atol=1e-6)
    assert "text" not in row and example.tags["keywords"] == row["tag.keywords"]


def test_greedy_answers_are_equal_whatever_lies_in_the_batch(handle, splits):
    examples = splits["retain"].examples[:9]
    together = handle.complete(examples, Decoding(max_new_tokens=6, batch_size=9), 0)
    alone = [handle.complete([example], Decoding(max_new_tokens=6), 0)[0] for example in examples]
    assert alone == together


def test_sampled_answers_belong_to_seed_and_example(handle, splits):
    examples = splits["retain"].examples[:6]
    how = Decoding(max_new_tokens=5, temperature=1.0, batch_size=6)
    first = handle.complete(examples, how, 1)
    assert first == handle.complete(examples[::-1], replace(how, batch_size=2), 1)[::-1]
    assert first != handle.complete(examples, how, 2)


def test_kept_tower_features_change_nothing(splits):
    handle = toy_handle()
    batch = splits["forget"].examples[:4]
    with torch.no_grad():
        pixels = handle.score(handle.collate(batch)).nll
    frozen = handle.adapted({"tower": "frozen"})
    collated = frozen.collate(batch)
    assert "features" in collated.tensors and "pixel_values" not in collated.tensors
    with torch.no_grad():
        assert torch.allclose(pixels, frozen.score(collated).nll, atol=1e-5)
        before = frozen.cache.kept
        next(frozen.family.tower(frozen.model).parameters()).mul_(1.5)  # an edit of the tower
        frozen.collate(batch)
    assert before is not frozen.cache.kept, "features of the tower before the edit were served"


def test_an_example_longer_than_the_limit_is_refused(splits):
    short = toy_handle(max_length=8)
    with pytest.raises(UserError, match="max_length=8"):
        short.collate(splits["forget"].examples[:1])


def test_an_answer_is_needed_and_the_placeholder_is_not_text(handle, splits):
    example = splits["forget"].examples[0]
    with pytest.raises(UserError, match="no answer text"):
        handle.collate([replace(example, target=None)])
    with pytest.raises(UserError, match="placeholder"):
        handle.collate([replace(example, id="other", prompt="Is <image> a picture?")])


def test_a_random_target_is_a_refusal_other_than_the_answer(handle):
    example = Example(id="x", prompt="Who?", target=REFUSALS[0])
    drawn = {handle.random_target(example, np.random.default_rng(i)) for i in range(40)}
    assert drawn <= set(REFUSALS) - {REFUSALS[0]} and len(drawn) > 5


# ---- stored models ------------------------------------------------------------------------------------------------
def adapted(tmp_path):
    toy_handle().save(tmp_path / "original")
    handle = VlmHandle.load(tmp_path / "original").adapted({"tower": "frozen", "lora": {"r": 2}})
    with torch.no_grad():
        for _, parameter in handle.trainable("adapters"):
            parameter.add_(0.1)
    handle.save(tmp_path / "run")
    return handle


def test_adapters_are_stored_without_their_base_and_found_again_after_a_move(tmp_path, splits):
    handle = adapted(tmp_path)
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert {"adapter.safetensors", "handle.json"} == names
    (tmp_path / "elsewhere").mkdir()
    for name in ("run", "original"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    again = VlmHandle.load(tmp_path / "elsewhere" / "run")
    assert weights_digest(handle.module) == weights_digest(again.module)


def test_adapters_of_another_rank_are_refused(tmp_path):
    adapted(tmp_path)
    file = tmp_path / "run" / "handle.json"
    content = json.loads(file.read_text())
    content["settings"]["lora"]["r"] = 3
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="adapters of another model"):
        VlmHandle.load(tmp_path / "run")


def test_a_base_that_changed_since_is_refused(tmp_path):
    adapted(tmp_path)
    toy_handle(seed=5).save(tmp_path / "original")
    with pytest.raises(UserError, match="changed since"):
        VlmHandle.load(tmp_path / "run")


def test_a_base_that_is_gone_is_named(tmp_path):
    adapted(tmp_path)
    (tmp_path / "original").rename(tmp_path / "gone")
    with pytest.raises(UserError, match="not there"):
        VlmHandle.load(tmp_path / "run")


def test_weights_that_lack_a_tensor_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    toy_handle().save(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state.pop(next(name for name in state if "mlp" in name))
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="missing"):
        VlmHandle.load(tmp_path)


def test_a_saved_model_loads_in_plain_transformers(tmp_path, splits):
    from transformers import AutoModelForImageTextToText

    handle = adapted(tmp_path)
    handle.export(tmp_path / "plain")
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "plain", dtype=torch.float32)
    pixels = handle.adapted({}).collate(splits["forget"].examples[:2])
    inputs = {k: v for k, v in pixels.tensors.items() if k in {"input_ids", "attention_mask", "labels"}}
    inputs["pixel_values"] = torch.cat(
        [handle.picture(e).tensors["pixel_values"] for e in splits["forget"].examples[:2]]
    )
    with torch.no_grad():
        scored = handle.score(pixels)
        assert torch.allclose(plain(**inputs).loss, scored.nll.sum() / scored.count.sum(), atol=1e-4)


def test_settings_that_choose_weights_cannot_be_laid_over_a_model(handle):
    with pytest.raises(UserError, match="has its own weights"):
        handle.adapted({"name": "scratch/qwen2_vl"})


def test_adapters_on_a_model_trained_with_adapters_lie_on_their_sum(tmp_path, splits):
    first = adapted(tmp_path)
    second = VlmHandle.load(tmp_path / "run").adapted({"lora": {"r": 3}})
    batch = second.collate(splits["forget"].examples[:3])
    with torch.no_grad():
        assert torch.allclose(first.score(batch).nll, second.score(batch).nll, atol=1e-4)
        for _, parameter in second.trainable("adapters"):
            parameter.add_(0.05)
        second.save(tmp_path / "second")
        again = VlmHandle.load(tmp_path / "second")
        assert torch.equal(second.score(batch).nll, again.score(batch).nll)
    assert {"adapter.safetensors", "handle.json"} == {file.name for file in (tmp_path / "second").iterdir()}


def test_targets_that_match_nothing_are_named():
    with pytest.raises(UserError, match=r"lora\.targets"):
        toy_handle().adapted({"lora": {"targets": ["w_qkv"]}})


@pytest.mark.parametrize("name", ["scratch/lava", "no/such/folder"])
def test_a_name_that_gives_no_model_is_refused(name):
    with pytest.raises(UserError, match=r"model\.name"):
        VlmHandle({"name": name})
