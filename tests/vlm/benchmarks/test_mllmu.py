"""The MLLMU-Bench reader on a little edition in the real layout: sets, tasks, pictures, and every fault in one line."""

import copy

import pytest
from mmunlearn.vlm.benchmarks.mllmu import PERSONS, Mllmu
from mmunlearn.vlm.profiles.mllmu_writer import MllmuSizes, write_mllmu
from mmunlearn.vlm.profiles.parquet_folder import FILE, write_configuration
from pyarrow import parquet

from mmunlearn.errors import UserError

SIZES = MllmuSizes(
    persons=4, celebrities=1, unseen=1, forget_5=1, forget_10=2, forget_15=3, views=2, size_px=16
)  # fmt: skip
WRITE = write_mllmu


def rows(root, name):
    return parquet.read_table(root / name / FILE).to_pylist()


def read(root, edition="mini", **settings):
    return Mllmu(settings).splits(root, edition)


def test_the_columns_are_those_of_the_hub(root):
    assert {
        "image", "ID", "biography", "question", "answer", "Classification_Task", "Generation_Task", "Mask_Task"
    } == set(rows(root, "forget_5")[0])  # fmt: skip
    assert "images" in rows(root, "Test_Set")[0] and "image" not in rows(root, "Test_Set")[0]
    assert {"Question", "Options", "Correct_Answer"} == set(
        rows(root, "forget_5")[0]["Classification_Task"]["Pure_Text_Questions"][0]
    )


def test_forget_sets_are_nested_and_retain_is_the_rest(root):
    ids = {name: [row["ID"] for row in rows(root, name)] for name in PERSONS}
    assert set(ids["forget_5"]) < set(ids["forget_10"]) < set(ids["forget_15"])
    for share in (5, 10, 15):
        both = ids[f"forget_{share}"] + ids[f"retain_{100 - share}"]
        assert ["001", "002", "003", "004"] == both


def test_what_a_picture_shows_and_what_a_name_says_lie_in_different_splits(root):
    splits = read(root)
    for name in ("classification", "cloze", "generation"):
        assert all(example.image is not None for example in splits[f"forget_{name}"])
        assert all(example.image is None for example in splits[f"forget_{name}_text"])


def test_a_choice_shows_four_options_and_the_letter_names_the_true_one(root):
    example = read(root)["forget_classification"][0]
    options = example.tags["options"].split("\n")
    entry = rows(root, "forget_5")[0]["Classification_Task"]["Image_Textual_Questions"][0]
    assert 4 == len(set(options))
    assert entry["Correct_Answer"] == example.target
    assert example.prompt.split("\n")[1:] == [f"{key}: {text}" for key, text in zip("ABCD", options, strict=True)]


def test_the_test_set_shows_the_forget_persons_in_other_pictures_drawn_by_the_seed(root):
    splits = read(root)
    own = {example.image.digest for example in splits["forget_generation"]}
    other = {example.image.digest for example in splits["test_generation"]}
    assert not own & other
    assert [e.prompt for e in splits["forget_generation"]] == [e.prompt for e in splits["test_generation"]]
    assert other == {e.image.digest for e in read(root)["test_generation"]}
    drawn = {e.image.digest for seed in range(8) for e in read(root, seed=seed)["test_generation"]}
    assert 2 == len(drawn)


def test_the_mini_learns_every_task_and_the_celebrities_the_full_only_the_open_questions(root):
    mini, full = read(root), read(root, "full", check_counts=False)
    assert {e.tags["identity"] for e in mini["retain"]} - {e.tags["identity"] for e in full["retain"]} == {
        "celebrity/005"
    }
    asked = {e.id for name in ("classification", "cloze", "generation") for e in full[f"forget_{name}"]}
    assert asked <= set(mini["forget"].ids)
    assert {"main", "generation", "generation_text"} == {e.id.split("/")[3] for e in full["forget"]}


def test_full_data_of_another_size_are_refused(root):
    with pytest.raises(UserError, match=r"1 persons, expected 25"):
        read(root, "full")


# ---- malformed -----------------------------------------------------------------------------------------------------
def _row(name, change):
    def apply(root):
        content = copy.deepcopy(rows(root, name))
        change(content)
        write_configuration(root, name, content)

    return apply


def _remove(root, name):
    (root / name / FILE).unlink()


def _drop(column):
    return _row("forget_5", lambda r: [row.pop(column) for row in r])


FAULTS = {
    "no forget set": (lambda root: _remove(root, "forget_5"), "no parquet files under forget_5/."),
    "no celebrities": (lambda root: _remove(root, "Retain_Set"), "no parquet files under Retain_Set/."),
    "not parquet": (
        lambda root: (root / "forget_5" / FILE).write_bytes(b"x" * 40), "not a readable parquet file"
    ),
    "no Mask_Task": (_drop("Mask_Task"), "no column Mask_Task"),
    "no image": (_drop("image"), "no column image"),
    "an empty picture": (
        _row("forget_5", lambda r: r[0].__setitem__("image", {"bytes": b"", "path": "x"})), "image holds no encoded"
    ),
    "a blank question": (_row("forget_5", lambda r: r[0].__setitem__("question", " ")), "line 1: question must be"),
    "a number for an ID": (
        _row("retain_95", lambda r: [row.__setitem__("ID", 7) for row in r]), "line 1: ID must be text"
    ),
    "an ID twice": (_row("retain_95", lambda r: r[1].__setitem__("ID", r[0]["ID"])), "stands in line 1 too"),
    "a person on both sides": (
        _row("retain_95", lambda r: r[0].__setitem__("ID", "001")), "person 001 is in forget_5 and in retain_95"
    ),
    "a kind of question that is unknown": (
        _row("forget_5", lambda r: r[0]["Generation_Task"][0].__setitem__("Type", "Sound")),
        "Generation_Task[0].Type must be Image_Textual or Pure_Text",
    ),
    "no truth": (
        _row("forget_5", lambda r: r[0]["Mask_Task"][0].__setitem__("Ground_Truth", None)),
        "Mask_Task[0].Ground_Truth must be text",
    ),
    "no open questions": (
        _row("forget_5", lambda r: r[0].__setitem__("Generation_Task", [])), "Generation_Task must be a list"
    ),
    "an option missing": (
        _row(
            "forget_5",
            lambda r: r[0]["Classification_Task"]["Image_Textual_Questions"][0]["Options"].__setitem__("C", None),
        ),
        "Image_Textual_Questions[0].Options must hold texts A to D",
    ),
    "a fifth letter": (
        _row(
            "forget_5",
            lambda r: r[0]["Classification_Task"]["Pure_Text_Questions"][0].__setitem__("Correct_Answer", "E"),
        ),
        "Correct_Answer must be one of A, B, C, D",
    ),
    "a forget person without other pictures": (
        _row("Test_Set", lambda r: r.pop(0)), "Test_Set has no row of person 001"
    ),
    "no other picture": (_row("Test_Set", lambda r: r[0].__setitem__("images", [])), "images must be a list"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_in_one_line(root, name):
    spoil, message = FAULTS[name]
    spoil(root)
    with pytest.raises(UserError) as caught:
        read(root)
    assert message in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())
