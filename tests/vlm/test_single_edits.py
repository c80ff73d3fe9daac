"""Edits by record: a batch with an edit a row against one written edit at a time; exact restore; storage; training."""

from dataclasses import replace

import pytest
import torch
from mmunlearn.vlm import single_edits
from mmunlearn.vlm.edit_training import CONSTRAINED, EditSettings, Row, path_of, sum_by_record, train_edits
from mmunlearn.vlm.handle import VlmHandle
from mmunlearn.vlm.single_edits import Edits, applied, attach, detach, written
from mmunlearn.vlm.toy import toy_handle, toy_splits
from mmunlearn.vlm.upper_layers import UpperLayers

from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding, weights_digest
from mmunlearn.seeds import generator


@pytest.fixture(scope="module")
def examples():
    return toy_splits()["forget"].examples[:5]


def some_edits(handle, keys, *, dense=False):
    path, _ = path_of(handle, 0)
    out, into = handle.model.get_submodule(path).weight.shape
    draw = generator(0, "test edits")
    tensor = lambda *shape: torch.tensor(draw.normal(size=shape), dtype=torch.float32)  # noqa: E731
    if dense:
        return Edits(path, keys, dense=0.1 * tensor(len(keys), out, into))
    return Edits(path, keys, down=tensor(len(keys), 2, into), up=0.1 * tensor(len(keys), out, 2))


@pytest.mark.parametrize("dense", [False, True])
def test_rows_with_edits_of_their_own_are_what_written_edits_give(examples, dense):
    handle = toy_handle()
    edits = some_edits(handle, [examples[0].id, examples[2].id, examples[3].id], dense=dense)
    plain = [float(handle.score(handle.collate([e])).nll) for e in examples]
    expected = []
    for example in examples:
        if example.id not in edits.index:
            expected.append(float(handle.score(handle.collate([example])).nll))
            continue
        with written(handle.model, edits, example.id):
            expected.append(float(handle.score(handle.collate([example])).nll))
    attach(handle.model, edits)
    found = handle.score(handle.collate(examples)).nll.tolist()
    assert found == pytest.approx(expected, abs=1e-4)
    assert found[1] == pytest.approx(plain[1], abs=1e-5)
    assert abs(found[0] - plain[0]) > 1e-2


def test_answers_and_choices_go_through_the_row_s_edit(examples):
    handle = toy_handle()
    edits = some_edits(handle, [e.id for e in examples])
    how = Decoding(batch_size=8, max_new_tokens=4)
    expected = []
    for example in examples:
        with written(handle.model, edits, example.id):
            (answer,) = handle.respond([example], how, 0)
        expected.append((answer.fields["text"], answer.fields["choices_nll"]))
    attach(handle.model, edits)
    for answer, (text, choices) in zip(handle.respond(examples, how, 0), expected, strict=True):
        assert text == answer.fields["text"]
        assert answer.fields["choices_nll"] == pytest.approx(choices, abs=1e-4)
        assert answer.fields["edit_kind"] == "erase"


def test_a_written_edit_is_taken_back_bit_by_bit(examples):
    handle = toy_handle()
    edits = some_edits(handle, [examples[0].id])
    before = weights_digest(handle.module)
    weight = handle.model.get_submodule(edits.path).weight
    place = weight.data_ptr()
    for _ in range(3):
        with written(handle.model, edits, examples[0].id):
            assert before != weights_digest(handle.module)
    assert before == weights_digest(handle.module)
    assert place == weight.data_ptr()  # the tensor itself, not a copy
    with pytest.raises(UserError, match="no edit"), written(handle.model, edits, "another"):
        pass


def test_attached_edits_leave_the_weights_and_are_taken_off(examples):
    handle = toy_handle()
    before = weights_digest(handle.module)
    attach(handle.model, some_edits(handle, [examples[0].id]))
    assert before != weights_digest(handle.module)  # responses of an edited model are not those of the original
    handle.respond(examples[:2], Decoding(max_new_tokens=2), 0)
    assert detach(handle.model) is not None
    assert before == weights_digest(handle.module)


def test_the_stored_folder_holds_deltas_and_a_pointer(examples, tmp_path):
    toy_handle().save(tmp_path / "original")
    handle = VlmHandle.load(tmp_path / "original")
    attach(handle.model, some_edits(handle, [e.id for e in examples]))
    expected = handle.score(handle.collate(examples)).nll
    handle.save(tmp_path / "edited")
    assert sorted(f.name for f in (tmp_path / "edited").iterdir()) == ["handle.json", "single_edits.safetensors"]
    again = VlmHandle.load(tmp_path / "edited")
    torch.testing.assert_close(again.score(again.collate(examples)).nll, expected)
    assert weights_digest(again.module) == weights_digest(handle.module)
    (tmp_path / "edited" / "single_edits.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="not readable"):
        VlmHandle.load(tmp_path / "edited")


def test_edits_of_another_model_are_refused(examples, tmp_path):
    toy_handle().save(tmp_path / "original")
    handle = VlmHandle.load(tmp_path / "original")
    attach(handle.model, some_edits(handle, [examples[0].id]))
    handle.save(tmp_path / "edited")
    toy_handle(seed=1).save(tmp_path / "original")
    with pytest.raises(UserError, match="another state"):
        VlmHandle.load(tmp_path / "edited")


def test_the_replayed_upper_layers_give_the_model_s_own_states(examples):
    handle = toy_handle()
    batch = handle.collate(examples)
    found = UpperLayers(handle, batch, 1).run()
    torch.testing.assert_close(found[-1], handle.hidden(batch), atol=1e-5, rtol=1e-5)


def test_the_replay_sees_the_edits(examples):
    handle = toy_handle()
    batch = handle.collate(examples)
    edits = some_edits(handle, [examples[0].id])
    upper = UpperLayers(handle, batch, 0)
    with applied(handle.model, edits, edits.rows(examples)):
        found, expected = upper.run()[-1], handle.hidden(batch)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def _teach(seen, records):
    return -sum_by_record(seen.logprob(), seen.owner, records)


@pytest.mark.parametrize("form", [{}, CONSTRAINED | {"steps": 4, "lr": 0.1, "box": 0.01}])
def test_records_trained_together_are_as_trained_alone(examples, form):
    handle = toy_handle()
    settings = EditSettings(**({"steps": 4, "lr": 0.05, "r": 2} | form))
    rows = [Row(e, e.id) for e in examples] + [Row(replace(examples[0], prompt="What is it?"), examples[0].id)]
    before = weights_digest(handle.module)
    together = train_edits(handle, rows, _teach, settings, seed=0)
    for key in together.keys:
        alone = train_edits(handle, [r for r in rows if r.record == key], _teach, settings, seed=0)
        torch.testing.assert_close(together.matrix(key), alone.matrix(key), atol=1e-5, rtol=1e-3)
    assert before == weights_digest(handle.module)
    assert all(p.grad is None for p in handle.module.parameters())


def test_training_is_that_of_the_weight_itself(examples):
    """Two steps of plain descent on the whole matrix within a box, done by hand on the weight."""
    handle = toy_handle()
    path, _ = path_of(handle, 0)
    settings = EditSettings(**(CONSTRAINED | {"steps": 2, "lr": 0.1, "box": 0.002, "layer": 0, "stop_loss": -1.0}))
    found = train_edits(handle, [Row(examples[0], "r")], _teach, settings, seed=0).matrix("r")
    weight = handle.model.get_submodule(path).weight
    start = weight.detach().clone()
    ends = handle.end_ids()
    for _ in range(2):
        handle.module.zero_grad()
        ids, at = handle.tokens(examples[0])
        logits, _ = handle.score_everywhere(handle.collate(examples[:1]))
        logp = logits[0].log_softmax(-1)
        total = sum(logp[t - 1, ids[t]] for t in range(at, len(ids)) if ids[t] not in ends)
        (-total).backward()
        with torch.no_grad():
            weight.copy_((weight - 0.1 * weight.grad).clamp(start - 0.002, start + 0.002))
    torch.testing.assert_close(found, weight.detach() - start, atol=1e-6, rtol=1e-3)
    assert 1e-4 < float(found.abs().max()) <= 0.002 + 1e-9  # the box was reached by some, not by all


def test_a_record_below_the_loss_stands_still(examples):
    settings = EditSettings(**(CONSTRAINED | {"steps": 3, "stop_loss": 1e9}))
    found = train_edits(toy_handle(), [Row(examples[0], "r")], _teach, settings, seed=0)
    assert float(found.matrix("r").abs().max()) == 0.0


def test_a_batch_of_another_size_is_an_error(examples):
    handle = toy_handle()
    edits = some_edits(handle, [examples[0].id])
    with pytest.raises(RuntimeError, match="rows pass"), applied(handle.model, edits, edits.rows(examples[:1])):
        handle.hidden(handle.collate(examples))


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(UserError, match=r"edit.layer.*blocks 0 to 1"):
        path_of(toy_handle(), 5)
    assert single_edits.edits_of(toy_handle().model) is None
