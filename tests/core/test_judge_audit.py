import json

import pytest
from PIL import Image

from mmunlearn.cli import main
from mmunlearn.errors import UserError
from mmunlearn.judge_audit import audit, check_labels, items, read_labelled
from mmunlearn.judges.base import Judge, Verdict


class Named(Judge):
    """Says what the file's name says."""

    offered = ("A", "B", "NO_BRAND")

    def grade(self, items):
        return [self._one(item.example.id.rpartition("_")[2].removesuffix(".png")) for item in items]

    def _one(self, said):
        return Verdict(float("nan"), None, "unclear") if said == "unclear" else Verdict(1.0, said)


@pytest.fixture
def folder(tmp_path):
    """Five pictures: two right, one hallucinated, one other brand, one unclear."""
    names = ["1_A.png", "2-NO_BRAND.png", "3_A.png", "4_B.png", "5_unclear.png"]
    for i, name in enumerate(names):
        Image.new("RGB", (4, 4), (i * 40, 0, 0)).save(tmp_path / name)
    labels = ["A", "NO_BRAND", "NO_BRAND", "A", "B"]
    parts = "yxxxx"
    lines = [",".join(row) for row in zip(names, labels, parts, strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join(["filename,label,part", *lines]) + "\n")
    return tmp_path


def test_figures_by_hand(folder):
    labelled = read_labelled(folder)
    judge = Named()
    judge._one = lambda said: Named._one(judge, "NO_BRAND" if said == "BRAND" else said)
    check_labels(judge, labelled, {})
    found, rows = audit(judge, items(labelled, folder), {}, "NO_BRAND", {})
    assert (5, 1) == (found.pictures, found.unscored)
    assert (0.5, 4) == found.accuracy[:2]  # A right, NO_BRAND right, NO_BRAND called A, A called B
    assert (0.5, 2) == found.hallucination[:2]
    assert found.correlation.value == pytest.approx(0.57735, abs=1e-4)
    assert ["A", "NO_BRAND", "A", "B", None] == [row["judged"] for row in rows]
    assert json.dumps(found.plain(), allow_nan=False)


def test_folders_named_by_label_are_read(tmp_path):
    (tmp_path / "A").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "A" / "1.png")
    assert ["A"] == [one.label for one in read_labelled(tmp_path)]


def test_a_part_of_the_rows_is_taken(folder):
    assert 1 == len(read_labelled(folder, part="part=y"))


def _write(folder, text):
    (folder / "labels.csv").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda f: read_labelled(f / "no"), "no such folder"),
        (lambda f: read_labelled(_write(f, "filename,brandname\n1_A.png,A\n")), "label"),
        (lambda f: read_labelled(_write(f, "filename,label\n1_A.png,\n")), "line 2: label is empty"),
        (lambda f: read_labelled(_write(f, "filename,label\n9.png,A\n")), "no picture under"),
        (lambda f: read_labelled(_write(f, "filename,label\n../x.png,A\n")), "no picture under"),
        (lambda f: read_labelled(_write(f, "filename,label\n")), "no rows"),
        (lambda f: read_labelled(f, part="prat=y"), "Did you mean part"),
        (lambda f: read_labelled(f, part="part=z"), "no row"),
        (lambda f: check_labels(Named(), read_labelled(_write(f, "filename,label\n1_A.png,C\n")), {}), "none that"),
    ],
)
def test_broken_folders_are_said(folder, call, said):
    with pytest.raises(UserError, match=said):
        call(folder)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audti"], "Did you mean audit"),
        (["audit", "--judge", "nudenet_partz"], "Did you mean nudenet_parts"),
        (["audit", "--judge", "refusal"], "reads text"),
        (["audit", "--map", "x"], "is no pair"),
        (["audit", "--variants", "template=unbranding_general"], "first of five variants"),
        (["audit", "template=unbranding_label_1"], "classes: needs two labels"),
        (["audit", "template=unbranding_label_1", "classes=[A, NO_BRAND]"], "has no backend"),
    ],
)
def test_the_verb_refuses_with_exit_code_two(folder, words, said, capsys):
    action, *rest = words
    assert 2 == main(["judge", action, str(folder), *rest])
    assert said in capsys.readouterr().err
