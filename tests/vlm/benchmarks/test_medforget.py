"""The MedForget reader on little parquet files in the real layout: the tree, tasks, requests, and every fault."""

import io
import json

import numpy as np
import pyarrow
import pytest
from mmunlearn.vlm import dicom
from mmunlearn.vlm.benchmarks.medforget import Medforget, options
from mmunlearn.vlm.hierarchy import level_of, task_of
from PIL import Image
from pyarrow import parquet

from mmunlearn.errors import UserError

LEVELS = ("institution", "patient", "study", "section")


def picture(shade):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def row(path, level="section", section="FINDINGS", questions=None):
    inst, patient, study = path.split("/")
    questions = questions or [{"Question": "What is seen?", "Answer": "A nodule."}]
    place = {"institution_id": inst, "patient_id": patient, "study_id": study}
    return {
        "image": {"bytes": picture(len(path))}, "image_path": f"{path}/x.jpg", "metadata": questions,
        "hierarchy_metadata": {**place, "section_name": section, "hierarchy_level": level},
        "ID": f"{path}/{section}/{level}".replace("/", "_"),
    }  # fmt: skip


def world():
    return {
        "forget": [row("i1/p1/s1"), row("i1/p1/s1", "study", ""), row("i1/p1/s1", section="IMPRESSION")],
        "retain": [
            row("i1/p1/s1", "patient", ""), row("i1/p1/s2"), row("i1/p2/s3"), row("i2/p3/s4"),
            row("i2/p3/s4", "study", ""),
        ],
    }  # fmt: skip


def write(root, parts, level="study"):
    for part, rows in parts.items():
        path = root / f"{level}_level" / f"{part}_set_all.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = [{name: encoded(name, value) for name, value in one.items()} for one in rows]
        parquet.write_table(pyarrow.Table.from_pylist(cells), path)


def encoded(name, value):
    return json.dumps(value) if name.endswith("metadata") and not isinstance(value, str) else value


def read(root, **settings):
    return Medforget({"level": "study", **settings}).splits(root, "full")


@pytest.fixture
def root(tmp_path):
    write(tmp_path, world())
    return tmp_path


def nodes(split):
    return [e.tags["node"] for e in split]


def test_a_question_belongs_to_the_node_of_its_level(root):
    splits = read(root)
    assert ["i1/p1/s1/FINDINGS", "i1/p1/s1", "i1/p1/s1/IMPRESSION"] == nodes(splits["forget"])
    assert "i1/p1" == nodes(splits["retain"])[0]
    assert {*splits["forget"].ids, *splits["retain"].ids} == set(splits["train"].ids)


def test_siblings_lie_under_the_parent_of_what_is_forgotten(root):
    assert ["i1/p1/s2/FINDINGS"] == nodes(read(root)["siblings"])
    assert "i1/p1/s2/FINDINGS" not in nodes(read(root)["test"])


@pytest.mark.parametrize(
    ("node", "gone"),
    [
        ("i1", 6), ("i1/p1", 5), ("i1/p1/s1", 3), ("i1/p1/s1/IMPRESSION", 1), ("i2/p3/s4", 2),
    ],
)  # fmt: skip
def test_a_request_at_any_node_takes_all_its_descendants(root, node, gone):
    splits = read(root, node=node)
    assert gone == len(splits["forget"])
    assert all(one.startswith(node) for one in nodes(splits["forget"]))
    assert not any(one.startswith(node) for one in nodes(splits["retain"]))
    assert 8 == len(splits["train"])


def test_context_reveals_one_level_after_another_and_never_the_answer(root):
    asked = [e for e in read(root)["context"] if e.id.startswith("medforget/i1_p1_s1_FINDINGS")]
    assert ["0", "1", "2", "3"] == [e.tags["revealed"] for e in asked]
    assert "What is seen?" == asked[0].prompt
    assert "The institution is i1. The patient is p1. The study is s1. What is seen?" == asked[3].prompt
    assert not any("nodule" in e.prompt for e in asked)


def test_tasks_levels_and_options():
    assert ["cloze", "classification", "generation"] == [
        task_of(q) for q in ("It is [blank].", "Which? A) x B) y C) z", "Which? A) x B) y")
    ]
    questions = ("Which Hospital is it?", "Whose medical record?", "Which imaging study?", "What is seen?")
    assert list(LEVELS) == [level_of(q, "") for q in questions]
    assert {"section"} == {level_of(q, "") for q in ("Is it an outpatient?", "What do institutional rules say?")}
    assert "study" == level_of("Which hospital?", "study")
    assert "institution" == level_of("Which hospital?", "eight")
    assert ["large nodule", "no finding", "a line"] == options("What? A) large nodule B) no finding C) a line")


def test_ids_come_from_the_path_where_metadata_lacks_them(tmp_path):
    parts = world()
    parts["forget"][0]["hierarchy_metadata"] = {"section_name": "FINDINGS", "hierarchy_level": "section"}
    write(tmp_path, parts)
    assert "i1/p1/s1/FINDINGS" == nodes(read(tmp_path)["forget"])[0]


def test_answers_that_are_lists_are_joined(tmp_path):
    parts = world()
    parts["forget"][0]["metadata"] = [{"Question": "What?", "Answer": ["a", "nodule"]}]
    write(tmp_path, parts)
    assert "a nodule" == read(tmp_path)["forget"][0].target


def test_equal_pictures_are_shared(root):
    forget = read(root)["forget"]
    assert forget[0].image is forget[1].image


def test_dicom_without_its_package_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    parts = world()
    parts["forget"][0]["image"] = {"bytes": b"\0" * 128 + b"DICM" + b"rest"}
    write(tmp_path, parts)
    with pytest.raises(UserError, match=r"line 1: the picture is a DICOM file(.|\n)*pip install pydicom"):
        read(tmp_path)


@pytest.mark.parametrize(("inverted", "expected"), [(False, [0, 128, 255]), (True, [255, 128, 0])])
def test_dicom_values_are_spread_over_the_greys(inverted, expected):
    png = dicom._png(np.array([[-1000.0, 0.0, 1000.0]]), inverted=inverted, image=Image)
    found = np.asarray(Image.open(io.BytesIO(png)))[0].tolist()
    assert all(abs(a - b) <= 1 for a, b in zip(found, expected, strict=True))


def _first(**change):
    return lambda parts: parts["forget"][0].update(change)


def _place(**change):
    def alter(parts):
        one = parts["forget"][0]
        one["hierarchy_metadata"] = {**one["hierarchy_metadata"], **change}

    return alter


FAULTS = {
    "metadata no JSON": (_first(metadata="{broken"), "line 1: metadata is not JSON"),
    "metadata no list": (_first(metadata={"Question": "a"}), "metadata must be a JSON list"),
    "metadata empty": (_first(metadata=[]), "with at least one"),
    "entry no object": (_first(metadata=["text"]), "metadata[0] is a str"),
    "answer missing": (_first(metadata=[{"Question": "a"}]), "metadata[0].Answer is missing"),
    "misspelt": (_first(metadata=[{"Question": "a", "answer": "b"}]), "Answer is missing. Did you mean"),
    "blank question": (_first(metadata=[{"Question": " ", "Answer": "b"}]), "metadata[0].Question must be text"),
    "answer a number": (_first(metadata=[{"Question": "a", "Answer": 3}]), "metadata[0].Answer must be text"),
    "no picture": (_first(image={"bytes": b""}), "image holds no encoded picture"),
    "hierarchy no JSON": (_first(hierarchy_metadata="nothing"), "hierarchy_metadata is not JSON"),
    "hierarchy no object": (_first(hierarchy_metadata="[1]"), "must be a JSON object"),
    "section unknown": (_place(section_name="FINDING"), "section_name 'FINDING' is unknown. Did you mean FINDINGS"),
    "id with slash": (_place(patient_id="a/b"), "patient_id must be text without a slash"),
    "no ids": (
        lambda p: p["forget"][0].update(hierarchy_metadata={"hierarchy_level": "study"}, image_path="x.jpg"),
        "institution_id stands neither in",
    ),
    "blank ID": (_first(ID=" "), "ID must be text that is not blank"),
    "ID twice": (lambda p: p["forget"].append(dict(p["forget"][0])), "stands in line 1 too"),
    "in both files": (lambda p: p["retain"].append(dict(p["forget"][0])), "in the forget and in the retain file"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_malformed(tmp_path, name):
    change, message = FAULTS[name]
    parts = world()
    change(parts)
    write(tmp_path, parts)
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert message in str(caught.value), str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


def test_missing_column_file_level_and_node_are_named(root):
    with pytest.raises(UserError, match=r"no node 'i1/p9'"):
        read(root, node="i1/p9")
    with pytest.raises(UserError, match=r"no folder patient_level.*medforget needs"):
        read(root, level="patient")
    (root / "study_level" / "retain_set_all.parquet").rename(root / "study_level" / "retained_set_all.parquet")
    with pytest.raises(UserError, match=r"retain_set_all.parquet: no such file. Did you mean retained_set_all"):
        read(root)
    path = root / "study_level" / "forget_set_all.parquet"
    table = parquet.read_table(path).drop(["metadata"])
    parquet.write_table(table, path)
    with pytest.raises(UserError, match="no column metadata"):
        read(root)
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match="not a readable parquet file"):
        read(root)


def test_nothing_left_to_retain_is_refused(tmp_path):
    parts = {"forget": [row("i1/p1/s1")], "retain": [row("i1/p1/s2")]}
    write(tmp_path, parts)
    with pytest.raises(UserError, match="nothing is left to retain"):
        read(tmp_path, node="i1")
