"""Respond, judge, reduce: only what is missing is made, and what changed is made afresh."""

import hashlib
import json
import math
import shutil
from pathlib import Path

import pytest

from mmunlearn.cards import EvaluationPlan
from mmunlearn.errors import UserError
from mmunlearn.evaluate import Comparison, Place, judge, make_metric, reduce, respond, rows_of
from mmunlearn.handle import Decoding, Response
from mmunlearn.judges.base import Item, Judge, Verdict
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


# ---- pictures ------------------------------------------------------------------------------------------------------
class Painting(Counting):
    """Answers with a picture of its logits: a file in the folder that it is given."""

    def __init__(self, *args, fails_after=None):
        super().__init__(*args)
        self.painted, self.fails_after = [], fails_after

    def respond(self, examples, how, seed):
        rows = []
        for answer in super().respond(examples, how, seed):
            file = how.folder / f"{answer.id.rpartition('/')[2]}.png"
            if not file.is_file():
                if len(self.painted) == self.fails_after:
                    raise KeyboardInterrupt
                self.painted.append(answer.id)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps([answer.fields["logits"], seed]))
            digest = hashlib.blake2b(file.read_bytes()).hexdigest()
            rows.append(Response(answer.id, {"image": file.name, "image_hash": digest, "label": "x"}))
        return rows


def test_pictures_are_stored_by_name_and_handed_out_as_paths(tmp_path):
    run, split = Run.scratch(tmp_path / "run"), SPLITS["forget"]
    respond(run, Painting(), split, Decoding())
    stored = read_rows(tmp_path / "run/responses/forget")
    assert "0000.png" == stored[0]["image"]
    for row, path in zip(stored, rows_of(run.path, "forget")["image"], strict=True):
        assert Path(path).is_absolute() and row["image_hash"] == hashlib.blake2b(Path(path).read_bytes()).hexdigest()
    moved = shutil.move(tmp_path / "run", tmp_path / "moved")
    assert str(tmp_path / "moved/images/forget/0000.png") == rows_of(moved, "forget")["image"][0]


def test_a_killed_process_leaves_pictures_that_are_used_again(tmp_path):
    run, split = Run.scratch(tmp_path), SPLITS["forget"]
    with pytest.raises(KeyboardInterrupt):
        respond(run, Painting(fails_after=5), split, Decoding())
    assert [] == read_rows(tmp_path / "responses/forget")
    again = Painting()
    respond(run, again, split, Decoding())
    assert list(split.ids[5:]) == again.painted and len(split) == len(read_rows(tmp_path / "responses/forget"))


def test_other_weights_make_other_pictures(tmp_path):
    run, split = Run.scratch(tmp_path), SPLITS["forget"]
    hashes = []
    for seed in (0, 1):
        respond(run, Painting(None, seed), split, Decoding())
        hashes.append([row["image_hash"] for row in read_rows(tmp_path / "responses/forget")])
    assert not set(hashes[0]) & set(hashes[1])
    respond(run, Painting(None, 1), split.subset(range(3)), Decoding())
    assert ["0000.png", "0001.png", "0002.png"] == sorted(f.name for f in (tmp_path / "images/forget").iterdir())


def test_pictures_of_a_stop_between_marker_and_rows_are_not_those_of_other_weights(tmp_path):
    run, split = Run.scratch(tmp_path), SPLITS["forget"]
    respond(run, Painting(None, 0), split, Decoding())
    shutil.rmtree(tmp_path / "responses/forget")  # what a crash in the middle of emptying may leave
    fresh = Painting(None, 1)
    respond(run, fresh, split, Decoding())
    assert list(split.ids) == fresh.painted


@pytest.mark.parametrize("fields", [{"image": "../x.png", "image_hash": "a"}, {"image": "x.png"}])
def test_an_image_must_be_a_plain_name_with_its_hash(tmp_path, fields):
    class Astray(Counting):
        def respond(self, examples, how, seed):
            return [Response(example.id, fields) for example in examples]

    with pytest.raises(ValueError, match="image is a file name"):
        respond(Run.scratch(tmp_path), Astray(), SPLITS["forget"], Decoding())


def test_judges_see_the_path_and_key_the_content(tmp_path):
    seen = []

    class Looking(Judge):
        def grade(self, items):
            seen.extend(item.fields["image"] for item in items)
            return [Verdict(1.0) for _ in items]

    example = SPLITS["forget"][0]
    grader = Looking({})
    here, there, other = (
        Item(example, {"image": path, "image_hash": digest, "seed": 1})
        for path, digest in (("/a/x.png", "1"), ("/b/x.png", "1"), ("/a/x.png", "2"))
    )
    assert grader.key(here) == grader.key(there) != grader.key(other)
    assert grader.key(Item(example, {"image": "one"})) != grader.key(Item(example, {"image": "two"}))
    grader([here], {})
    assert ["/a/x.png"] == seen


def test_verdicts_of_pictures_survive_a_move(tmp_path):
    run = Run.scratch(tmp_path / "run")
    respond(run, Painting(), SPLITS["forget"], Decoding())
    first = judge(run, PLAN.model_copy(update={"judge": "degenerate"}), SPLITS["forget"].examples, "tiny")
    keys = [row["key"] for row in read_rows(tmp_path / "run/verdicts/forget")]
    shutil.move(tmp_path / "run", tmp_path / "moved")
    moved = Run.scratch(tmp_path / "moved")
    again = judge(moved, PLAN.model_copy(update={"judge": "degenerate"}), SPLITS["forget"].examples, "tiny")
    assert keys == [row["key"] for row in read_rows(tmp_path / "moved/verdicts/forget")]
    assert first.ids == again.ids and str(tmp_path / "moved") in again["image"][0]


# ---- responses of a run beside -------------------------------------------------------------------------------------
def beside(tmp_path, name, seed=0):
    return Run.scratch(tmp_path / "runs" / name, seed)


def test_equal_responses_are_linked_and_said(tmp_path, caplog):
    split = SPLITS["forget"]
    one, two = beside(tmp_path, "one"), beside(tmp_path, "two")
    respond(one, Painting(), split, Decoding())
    handle = Painting()
    respond(two, handle, split, Decoding())
    assert [] == handle.asked
    assert read_rows(one.path / "responses/forget") == read_rows(two.path / "responses/forget")
    assert (one.path / "images/forget/0003.png").samefile(two.path / "images/forget/0003.png")
    (event,) = two.events("responses_shared")
    assert ("forget", "one", len(split)) == (event["split"], event["run"], event["rows"])
    assert "responses to forget are those of one" in caplog.text
    shutil.rmtree(one.path)  # the link does not need the other run
    assert Path(rows_of(two.path, "forget")["image"][0]).is_file()


@pytest.mark.parametrize("other", ["weights", "seed", "decoding", "split", "settings", "guard", "incomplete", "place"])
def test_what_differs_is_not_shared(tmp_path, other):
    split, maker = SPLITS["forget"], Painting()
    one = beside(tmp_path, "one", seed=1 if other == "seed" else 0)
    if other == "weights":
        maker = Painting(None, 1)
    if other == "settings":
        maker.settings = maker.settings.model_copy(update={"noise": 0.5})
    if other == "guard":
        maker.guard = object()
    if other == "place":
        one = Run.scratch(tmp_path / "elsewhere" / "one")
    how = Decoding(temperature=0.5) if other == "decoding" else Decoding()
    respond(one, maker, split.subset(range(5)) if other == "split" else split, how)
    if other == "incomplete":
        rows = one.path / "responses/forget/rows-00000.jsonl"
        rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    handle = Painting()
    respond(beside(tmp_path, "two"), handle, split, Decoding())
    assert list(split.ids) == handle.asked


def test_a_picture_that_is_gone_is_made(tmp_path):
    split = SPLITS["forget"]
    one = beside(tmp_path, "one")
    respond(one, Painting(), split, Decoding())
    (one.path / "images/forget/0003.png").unlink()
    handle = Painting()
    respond(beside(tmp_path, "two"), handle, split, Decoding())
    assert list(split.ids) == handle.asked


def test_the_rest_of_a_killed_run_is_taken_over(tmp_path):
    split = SPLITS["forget"]
    respond(beside(tmp_path, "one"), Painting(), split, Decoding())
    two = beside(tmp_path, "two")
    respond(two, Painting(), split, Decoding())
    whole = read_rows(two.path / "responses/forget")
    rows = two.path / "responses/forget/rows-00000.jsonl"
    rows.write_bytes(rows.read_bytes()[:-40])
    handle = Painting()
    respond(two, handle, split, Decoding())
    assert [] == handle.asked and whole == read_rows(two.path / "responses/forget")
