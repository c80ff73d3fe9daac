"""Respond, judge, reduce: only what is missing is made, and what changed is made afresh."""

import math

import pytest

from mmunlearn.cards import EvaluationPlan
from mmunlearn.errors import UserError
from mmunlearn.evaluate import Comparison, Place, judge, make_metric, reduce, respond, rows_of
from mmunlearn.handle import Decoding
from mmunlearn.records import read_rows
from mmunlearn.run import Run
from mmunlearn.testing.tiny import TinyHandle, memorise, tiny_splits

SPLITS = tiny_splits()
PLAN = EvaluationPlan(name="forget", split="forget", metrics=("top1",))


class Counting(TinyHandle):
    """Remembers which examples it was asked."""

    def __init__(self, *args):
        super().__init__(*args)
        self.asked = []

    def respond(self, examples, how, seed):
        self.asked += [e.id for e in examples]
        return super().respond(examples, how, seed)


def test_only_missing_rows_are_made(tmp_path):
    run, handle, split = Run.scratch(tmp_path), Counting(), SPLITS["forget"]
    respond(run, handle, split, Decoding())
    assert list(split.ids) == handle.asked
    respond(run, handle, split, Decoding())
    assert len(split) == len(handle.asked)
    shard = tmp_path / "responses/forget/rows-00000.jsonl"
    whole = read_rows(shard.parent)
    shard.write_bytes(shard.read_bytes()[: len(shard.read_bytes()) // 2])  # killed in the middle of a line
    have = len(read_rows(shard.parent))
    respond(run, handle, split, Decoding())
    assert list(split.ids[have:]) == handle.asked[len(split) :]
    assert whole == read_rows(shard.parent)


def test_other_weights_or_data_start_afresh(tmp_path):
    run, split = Run.scratch(tmp_path), SPLITS["forget"]
    for handle, part, expected in (
        (Counting(None, 0), split, 12), (Counting(None, 1), split, 12), (Counting(None, 1), split.subset(range(5)), 5),
    ):  # fmt: skip
        respond(run, handle, part, Decoding())
        assert expected == len(handle.asked) == len(read_rows(tmp_path / "responses/forget"))


def test_cells_are_what_counting_by_hand_gives(tmp_path):
    run, handle = Run.scratch(tmp_path), memorise(TinyHandle(), SPLITS["forget"], steps=25)
    respond(run, handle, SPLITS["forget"], Decoding())
    cells = reduce(run, [PLAN], SPLITS, "tiny", Comparison())
    scored = handle.score(handle.collate(SPLITS["forget"].examples))
    right = (scored.logits[:, 0].argmax(-1) == scored.targets[:, 0]).float()
    cell = cells["forget/top1"]
    assert right.mean().item() == pytest.approx(cell.value) and 12 == cell.n
    assert cell.stderr == pytest.approx((right.std() / math.sqrt(12)).item())
    verdicts = read_rows(tmp_path / "verdicts/forget")
    assert right.tolist() == [row["value"] for row in verdicts]


def test_verdicts_follow_the_responses(tmp_path):
    run = Run.scratch(tmp_path)
    assert judge(run, PLAN, SPLITS["forget"].examples, "tiny") is None
    for seed in (0, 1):
        respond(run, TinyHandle(None, seed), SPLITS["forget"], Decoding())
        rows = judge(run, PLAN, SPLITS["forget"].examples, "tiny")
        stored = {row["id"]: row["value"] for row in read_rows(tmp_path / "verdicts/forget")}
        assert stored == dict(zip(rows.ids, rows["value"].tolist(), strict=True))
        assert rows["logits"].tolist() == rows_of(tmp_path, "forget")["logits"].tolist()


def test_metrics_by_name_settings_and_title():
    metric, title = make_metric({"name": "top1", "as": "accuracy"}, "tiny")
    assert "top1" == metric.name() and "accuracy" == title
    with pytest.raises(UserError, match="Did you mean"):
        make_metric("top_1", "tiny")


def test_a_place_is_main_when_it_is_the_first():
    assert Place().main and not Place(1, 2).main
