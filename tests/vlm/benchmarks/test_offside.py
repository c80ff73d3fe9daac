"""The OFFSIDE reader on little folders in the real layout: settings, tags, and every fault named in one line."""

import io
import json

import pytest
from mmunlearn.vlm.benchmarks.offside import Offside
from PIL import Image

from mmunlearn.data import Role
from mmunlearn.errors import UserError

COMPLETE, SELECTIVE, TEXT = "complete_unlearning_data", "selective_unlearning_data", "pure_text_data"


def record(number, question, answer, tag="<image>\n"):
    return {
        "messages": [{"role": "user", "content": f"{tag}{question}"}, {"role": "assistant", "content": answer}],
        "images": f"./finetune_set/{number:03d}.jpg",
    }


def choice(number, letter="B"):
    options = {"A": "Rome", "B": "Paris", "C": "Oslo", "D": "Bern"}
    return {
        "Question": "Where?",
        "Options": options,
        "Correct_Answer": letter,
        "images": f"./finetune_set/{number:03d}.jpg",
    }


def pictured(number, who="the player in the image"):
    return [
        record(number, f"How old is {who}?", f"He is {number}."),
        record(number, f"Which fee has {who}?", f"{number}0."),
    ]


LEFT = "the player on the left side of the image"


def sets():
    forget, retain = [*pictured(4), *pictured(9, LEFT)], [*pictured(1), *pictured(6)]
    found = {
        f"{COMPLETE}/finetune_set.json": retain + forget,
        f"{COMPLETE}/forget_set.json": forget,
        f"{COMPLETE}/retain_set.json": retain,
        f"{COMPLETE}/test_set.json": pictured(11),
        f"{COMPLETE}/relearn_set_enhanced.json": pictured(5),
        **{
            f"{COMPLETE}/classification_{n}_set.json": [choice(i)]
            for n, i in (("forget", 4), ("retain", 1), ("test", 11))
        },
        f"{COMPLETE}/classification_relearn_set.json": [choice(5, "D")],
        f"{SELECTIVE}/forget_set_part.json": [forget[1], forget[3]],
        f"{SELECTIVE}/retain_set_part.json": [retain[0], retain[2]],
        f"{TEXT}/forget_set.json": [record(4, "How old is Jo Ash?", "He is 4.", tag="")],
        f"{TEXT}/retain_set.json": [record(1, "How old is Jo Ash?", "He is 1.", tag="")],
    }
    return json.loads(json.dumps(found))  # no record is shared


def write(root, content):
    for name, records in content.items():
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(records))
    pictures = root / "data" / COMPLETE / "finetune_set"
    pictures.mkdir(parents=True, exist_ok=True)
    for number in (1, 4, 5, 6, 9, 11):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(stream, "JPEG")
        (pictures / f"{number:03d}.jpg").write_bytes(stream.getvalue())


@pytest.fixture
def root(tmp_path):
    write(tmp_path, sets())
    return tmp_path


def read(root, edition="full", **settings):
    return Offside({"check_counts": False, **settings}).splits(root, edition)


def test_complete_setting(root):
    splits = read(root)
    assert ["offside/004/00", "offside/004/01", "offside/009/00", "offside/009/01"] == list(splits["forget"].ids)
    assert splits["rumour"].ids == splits["forget"].ids
    assert splits["retain"].ids == splits["kept"].ids == splits["retained"].ids
    assert {*splits["forget"].ids, *splits["retain"].ids} == set(splits["train"].ids)
    assert "How old is the player in the image?" == splits["forget"][0].prompt
    assert (Role.UNSEEN, Role.HOLDOUT) == (splits["relearn"].role, splits["test"].role)


def test_selective_setting_forgets_private_facts_and_keeps_the_rest_of_the_picture(root):
    splits = read(root, setting="selective")
    assert ["offside/004/01", "offside/009/01"] == list(splits["forget"].ids)
    assert {"offside/004/00", "offside/009/00"} <= set(splits["kept"].ids)
    assert not set(splits["forget"].ids) & set(splits["kept"].ids)
    assert ["shared", "private"] * 2 == [e.tags["part"] for e in splits["rumour"]]
    assert 4 == len(read(root, setting="selective", retain_part=False)["retain"])


def test_unimodal_setting_has_no_picture_unless_asked_for(root):
    splits = read(root, setting="unimodal")
    assert [None] == [e.image for e in splits["forget"]]
    assert "How old is Jo Ash?" == splits["forget"][0].prompt
    shown = read(root, setting="unimodal", text_pictures=True)["forget"][0]
    assert "004.jpg" == shown.image.path.name
    assert splits["rumour"].ids == read(root)["rumour"].ids


def test_the_literal_image_tag_can_be_kept(root):
    assert "<image>\nHow old is the player in the image?" == read(root, image_tag="keep")["forget"][0].prompt


def test_stray_image_tags_go_too(root):
    content = sets()
    content[f"{COMPLETE}/test_set.json"][0]["messages"][0]["content"] = "<image>\nHow old <image> is he?"
    write(root, content)
    assert "How old is he?" == read(root)["test"][0].prompt


def test_rumours_drawn_into_their_picture_are_visual(root):
    assert ["textual", "textual", "visual", "visual"] == [e.tags["rumour"] for e in read(root)["rumour"]]


def test_choices_ask_for_a_letter(root):
    example = read(root)["classification_relearn"][0]
    assert "D" == example.target
    assert "Rome\nParis\nOslo\nBern" == example.tags["options"]
    assert "A: Rome\nB: Paris\nC: Oslo\nD: Bern" in example.prompt


def test_the_mini_edition_teaches_letters_of_training_pictures_alone(root):
    splits = read(root, "mini")
    assert set(splits["classification_forget"].ids) <= set(splits["train"].ids)
    assert not set(splits["classification_forget"].ids) & set(splits["kept"].ids)
    assert not set(splits["classification_test"].ids) & set(splits["train"].ids)


def test_fewer_questions_can_be_measured_while_as_many_are_trained_on(root):
    whole, part = read(root), read(root, measured=1, prompted=1)
    assert [2, 4, 6] == [len(whole[name]) for name in ("test", "retained", "prompted")]
    assert [1, 1, 3] == [len(part[name]) for name in ("test", "retained", "prompted")]
    assert 1 == len({e.tags["goal"] for e in part["prompted"]})
    for name in ("train", "retain", "rumour", "kept", "forget"):
        assert whole[name].ids == part[name].ids


def test_pictures_are_found_by_their_bare_name_too(root):
    content = sets()
    content[f"{SELECTIVE}/forget_set_part.json"][0]["images"] = "./somewhere/004.jpg"
    write(root, content)
    assert "004.jpg" == read(root, setting="selective")["forget"][0].image.path.name


def test_counts_are_those_of_the_card(root):
    with pytest.raises(UserError, match=r"8 examples for train, expected 4,480.*check_counts=false"):
        read(root, check_counts=True)


FORGET = f"{COMPLETE}/forget_set.json"
CHOICES = f"{COMPLETE}/classification_forget_set.json"


def _turns(turns):
    return lambda c: c[FORGET][0].update(messages=turns)


ANSWER = {"role": "assistant", "content": "y"}
FAULTS = {
    "no list": (lambda c: c.update({FORGET: {"a": 1}}), "forget_set.json: must be a JSON list"),
    "empty list": (lambda c: c.update({FORGET: []}), "at least one record"),
    "record no object": (lambda c: c[FORGET].insert(1, "text"), "line 2: record is a str"),
    "messages missing": (lambda c: c[FORGET][0].pop("messages"), "line 1: messages must be a list"),
    "one message": (_turns([{"role": "user", "content": "x"}]), "one question and one answer"),
    "roles turned": (_turns([{"role": "assistant", "content": "x"}] * 2), "messages[0].role must be 'user'"),
    "blank answer": (
        _turns([{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}]), "messages[1].content must be"
    ),
    "content missing": (_turns([{"role": "user", "text": "x"}, ANSWER]), "content is missing"),
    "tag alone": (
        _turns([{"role": "user", "content": "<image>\n"}, ANSWER]), "nothing beside <image>"
    ),
    "images a list": (lambda c: c[FORGET][0].update(images=["a.jpg"]), "images is a list"),
    "images missing": (lambda c: c[FORGET][0].pop("images"), "images is missing"),
    "images outside": (lambda c: c[FORGET][0].update(images="../../x.jpg"), "is not a path below the data"),
    "images absolute": (lambda c: c[FORGET][0].update(images="/x.jpg"), "is not a path below the data"),
    "picture missing": (lambda c: c[FORGET][0].update(images="./finetune_set/777.jpg"), "1 of the 3 pictures"),
    "three options": (lambda c: c[CHOICES][0]["Options"].pop("D"), "Options must be four texts"),
    "options a list": (lambda c: c[CHOICES][0].update(Options=["a"]), "Options must be four texts"),
    "blank option": (lambda c: c[CHOICES][0]["Options"].update(B=""), "Options.B must be text"),
    "letter unknown": (lambda c: c[CHOICES][0].update(Correct_Answer="E"), "Correct_Answer must be A, B, C or D"),
    "question missing": (lambda c: c[CHOICES][0].pop("Question"), "Question is missing"),
    "correction trained on": (
        lambda c: c[f"{COMPLETE}/relearn_set_enhanced.json"].append(pictured(1)[0]),
        "picture 001 is in finetune_set and",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_malformed(tmp_path, name):
    change, message = FAULTS[name]
    content = sets()
    change(content)
    write(tmp_path, content)
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert message in str(caught.value), str(caught.value)
    assert len(str(caught.value).splitlines()) <= 4


def test_missing_file_and_folder_are_named(root, tmp_path):
    (root / "data" / COMPLETE / "relearn_set_enhanced.json").unlink()
    with pytest.raises(UserError, match=r"relearn_set_enhanced.json: no such file"):
        read(root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no complete_unlearning_data here.*offside needs"):
        read(tmp_path / "empty")


def test_broken_json_is_named(root):
    (root / "data" / FORGET).write_text('[{"messages": ')
    with pytest.raises(UserError, match=r"forget_set.json: not JSON"):
        read(root)
