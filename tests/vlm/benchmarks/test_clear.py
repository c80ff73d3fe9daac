"""The CLEAR reader on a little edition in the real layout: configurations, choices, and every fault in one line."""

import copy
import shutil

import pytest
from mmunlearn.vlm.benchmarks.clear import CAPTION, WHO, Clear
from mmunlearn.vlm.profiles.clear_writer import ClearSizes, write_clear
from mmunlearn.vlm.profiles.parquet_folder import FILE, write_configuration
from pyarrow import parquet

from mmunlearn.errors import UserError

SIZES = ClearSizes(
    authors=4, unseen=1, real=2, forget01=1, forget05=2, forget10=2, pictures=2, perturbed=2, size_px=16
)  # fmt: skip
WRITE = write_clear


def rows(root, name):
    return parquet.read_table(root / name / FILE).to_pylist()


def read(root, edition="mini", **settings):
    return Clear(settings).splits(root, edition)


def test_the_columns_are_those_of_the_hub(root):
    assert {"image", "caption", "name"} == set(rows(root, "forget10")[0])
    assert {"image", "caption", "name", "question", "answer"} == set(rows(root, "forget10+tofu")[0])
    assert {
        "image", "caption", "name", "paraphrased_caption", "perturbed_captions", "perturbed_names"
    } == set(rows(root, "forget10_perturbed")[0])  # fmt: skip


def test_pictures_are_captioned_and_text_questions_have_none(root):
    forget = read(root)["forget"]
    pictured = [e for e in forget if e.image is not None]
    bare = [e for e in forget if e.image is None]
    assert (4, 4) == (len(pictured), len(bare))
    assert {CAPTION} == {e.prompt for e in pictured} and CAPTION not in {e.prompt for e in bare}
    assert all(e.tags["identity"] in e.target for e in forget)
    assert all(e.image is not None for e in read(root, text=False)["forget"])


def test_the_paraphrase_is_the_first_choice_and_untrue_captions_follow(root):
    row, example = rows(root, "forget10_perturbed")[0], read(root)["forget_perturbed"][0]
    assert row["caption"] == example.target
    assert (row["paraphrased_caption"], *row["perturbed_captions"]) == example.choices
    assert row["name"] in example.choices[0] and row["name"] not in "".join(example.choices[1:])


def test_real_persons_are_asked_for_by_name(root):
    example = read(root)["real_faces"][0]
    row = rows(root, "real_faces")[0]
    assert (WHO, row["name"]) == (example.prompt, example.target)
    assert (row["name"], *row["perturbed_names"]) == example.choices


def test_only_the_mini_teaches_the_real_persons(root):
    def names(splits):
        return {e.tags["identity"] for e in splits["retain"]}

    mini, full = read(root), read(root, "full", check_counts=False)
    assert {e.tags["identity"] for e in (*mini["real_faces"], *mini["real_world"])} == names(mini) - names(full)


def test_an_example_has_one_id_whichever_share_is_forgotten(root):
    assert sorted(read(root, forget="01")["train"].ids) == sorted(read(root, forget="10")["train"].ids)


def test_full_data_of_another_size_are_refused(root):
    with pytest.raises(UserError, match=r"8 examples for forget, expected 779"):
        read(root, "full")


# ---- malformed -----------------------------------------------------------------------------------------------------
def _row(name, change):
    def apply(root):
        content = copy.deepcopy(rows(root, name))
        change(content)
        write_configuration(root, name, content)

    return apply


FAULTS = {
    "no forget set": (lambda root: (root / "forget10+tofu" / FILE).unlink(), "no parquet files under forget10+tofu/."),
    "no perturbed set": (
        lambda root: shutil.rmtree(root / "retain_perturbed"), "no parquet files under retain_perturbed/."
    ),
    "not parquet": (lambda root: (root / "real_faces" / FILE).write_text("x"), "not a readable parquet file"),
    "no caption": (_row("forget10+tofu", lambda r: [one.pop("caption") for one in r]), "no column caption"),
    "a blank caption": (_row("forget10+tofu", lambda r: r[0].__setitem__("caption", "")), "line 1: caption must be"),
    "a blank name": (_row("retain90+tofu", lambda r: r[1].__setitem__("name", " ")), "line 2: name must be text"),
    "neither picture nor question": (
        _row("forget10+tofu", lambda r: r[0].__setitem__("image", None)), "line 1: question must be text"
    ),
    "an empty picture": (
        _row("forget10+tofu", lambda r: r[0].__setitem__("image", {"bytes": b"", "path": ""})), "image holds no encoded"
    ),
    "no name": (
        _row("retain90+tofu", lambda r: r.append(copy.deepcopy(r[0]) | {"name": None})), "name must be text"
    ),
    "no untrue captions": (
        _row("forget10_perturbed", lambda r: r[0].__setitem__("perturbed_captions", [])), "perturbed_captions must be a"
    ),
    "an untrue caption that is null": (
        _row("forget10_perturbed", lambda r: r[0]["perturbed_captions"].__setitem__(1, None)),
        "perturbed_captions[1] must be text",
    ),
    "no other names": (_row("real_faces", lambda r: r[0].__setitem__("perturbed_names", [])), "perturbed_names must"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_in_one_line(root, name):
    spoil, message = FAULTS[name]
    spoil(root)
    with pytest.raises(UserError) as caught:
        read(root)
    assert message in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())


def test_an_author_in_forget_and_retain_is_refused(root):
    name = rows(root, "forget10+tofu")[0]["name"]
    _row("retain90+tofu", lambda r: r[0].__setitem__("name", name))(root)
    with pytest.raises(UserError, match=r"is in the retain set too"):
        read(root)
