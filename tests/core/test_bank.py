import numpy as np
import pytest
from safetensors.numpy import save_file

from mmunlearn.bank import Bank, bank_of_runs, read_bank
from mmunlearn.errors import UserError
from mmunlearn.records import Rows, Shard


def bank() -> Bank:
    member = np.array([[True, False, True], [False, True, True]])
    unlearned = np.array([[True, False, False], [False, False, True]])
    return Bank(("b", "a", "c"), {"loss": np.arange(6.0).reshape(2, 3)}, member, unlearned, {"seed": 3})


def test_a_saved_bank_is_read_back_whole(tmp_path):
    bank().save(tmp_path / "bank.safetensors")
    back = Bank.load(tmp_path / "bank.safetensors")
    assert ("b", "a", "c") == back.ids
    assert {"seed": 3} == back.about
    np.testing.assert_array_equal(bank().signal("loss"), back.signal("loss"))
    np.testing.assert_array_equal(bank().member, back.member)
    np.testing.assert_array_equal(bank().unlearned, back.unlearned)


def test_examples_are_aligned_by_id():
    part = bank().at(["a", "b"])
    np.testing.assert_array_equal([[1.0, 0.0], [4.0, 3.0]], part.signal("loss"))
    np.testing.assert_array_equal([[False, True], [True, False]], part.member)
    assert 1 == len(bank().models([1]))


def test_of_takes_rows_in_any_order():
    rows = [{"id": i, "nll": n, "count": 1, "logits": [[0.0, n]], "target": [1]} for i, n in (("x", 1.0), ("y", 2.0))]
    member = np.ones((2, 2), dtype=bool)
    made = Bank.of([Rows.of(rows), Rows.of(rows[::-1])], member)
    np.testing.assert_array_equal(made.signal("loss")[0], made.signal("loss")[1])
    np.testing.assert_allclose([1.0, 2.0], made.signal("rescaled_logit")[1])


def test_mistakes_are_named(tmp_path):
    with pytest.raises(UserError, match="holds no signal 'entropy'"):
        bank().signal("entropy")
    with pytest.raises(UserError, match="1 of 2 examples are not in it, for example 'z'"):
        bank().at(["a", "z"])
    with pytest.raises(UserError, match="no such bank"):
        Bank.load(tmp_path / "nothing")
    (tmp_path / "text").write_text("not a bank, but long enough to hold a header")
    with pytest.raises(UserError, match="not a bank file"):
        Bank.load(tmp_path / "text")
    save_file({"w": np.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match="not a bank of shadow models"):
        Bank.load(tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"attack\.bank: needs a bank"):
        read_bank("", "attack.bank")
    with pytest.raises(UserError, match="unlearned by a model that was not trained"):
        Bank(("a",), {}, np.array([[False]]), np.array([[True]]))
    with pytest.raises(UserError, match="shape"):
        Bank(("a",), {"loss": np.zeros((2, 1))}, np.array([[False]]))


def answered(folder, margins):
    """A finished run's responses to two splits; the margin of a row is its second logit."""
    for split, ids in (("forget", "ab"), ("test", "c")):
        rows = [{"id": i, "nll": 0.1, "count": 1, "logits": [[0.0, margins[i]]], "target": [1]} for i in ids]
        Shard(folder / "responses" / split).append(rows)


def test_runs_of_several_seeds_are_a_bank(tmp_path):
    for seed, shift in enumerate((0.0, 1.0, 3.0)):
        answered(tmp_path / f"scrub-s{seed}", {"a": shift, "b": -shift, "c": 2.0})
    (tmp_path / "scrub-s9").mkdir()  # begun, not finished
    made = read_bank(str(tmp_path / "scrub-s*"), "klom.unlearned").at(["b", "a"])
    np.testing.assert_allclose([[0.0, 0.0], [-1.0, 1.0], [-3.0, 3.0]], made.signal("rescaled_logit"))
    assert {"runs": ["scrub-s0", "scrub-s1", "scrub-s2"]} == made.about


def test_patterns_of_runs_that_make_no_bank(tmp_path):
    answered(tmp_path / "ga-s0", {"a": 1.0, "b": 1.0, "c": 1.0})
    with pytest.raises(UserError, match="fits 1 finished runs"):
        read_bank(str(tmp_path / "ga-s*"), "klom.unlearned")
    rows = [{"id": "z", "nll": 0.1, "count": 1, "logits": [[0.0, 1.0]], "target": [1]}]
    Shard(tmp_path / "ga-s1" / "responses" / "forget").append(rows)
    with pytest.raises(UserError, match="answered different examples"):
        read_bank(str(tmp_path / "ga-s*"), "klom.unlearned")
    (tmp_path / "empty" / "responses").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no responses"):
        bank_of_runs([tmp_path / "empty"])
