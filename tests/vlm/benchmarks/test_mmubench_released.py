"""The released slice: its files as they are, with their blanks, repeated ids and paths of another machine."""

import json

import numpy as np
import pytest
from mmunlearn.vlm.benchmarks._mmubench_released import language
from mmunlearn.vlm.benchmarks.mmubench import Mmubench
from PIL import Image

from mmunlearn.errors import UserError


def item(question, answer, *, image="/data1/elsewhere/Image118.jpg", phrase=None):
    value = f"<image>\n{question}" if image else question
    made = {"id": "same", "conversations": [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]}
    return made | ({"image": image} if image else {}) | ({"target_phrase": phrase} if phrase else {})


SIU = [
    item("Who is it?", "He is Jacob Campbell.", phrase="Jacob Campbell"),
    item("Is Donald Trump here?", "No. It is not him.", phrase="No. It is not him."),
    item("Do you know Donald Trump?", "Yes, a politician.", image=None, phrase="none"),
    item("Do you know Ed Sheeran?", "A musician.", image=None, phrase="none"),
]
PO = [
    item("Who is it?", "I do not know."), item("Who is Taylor Swift?", "A singer."), item("Name him.", "I do not know.")
]  # fmt: skip


@pytest.fixture
def root(tmp_path):
    for folder, files in (("traindon", ["Image118.jpg"]), ("testdon", ["Image2.jpg", "Image3.jpeg"])):
        (tmp_path / folder).mkdir()
        for n, name in enumerate(files):
            Image.fromarray(np.full((8, 8, 3), 40 * n, np.uint8)).save(tmp_path / folder / name)
    files = {
        "finetunedata/SIU.json": SIU, "finetunedata/PO.json": PO,
        "finetunedata/GA.json": [item("Who is it?", "President Donald Trump.")],
        "evaldata/execcuatedata.json": [
            {"prompt": "Who is it?", "target": "trump"}, {"prompt": "Is it Donald Trump?", "target": " yes "},
            {"prompt": "A suit like his?", "target": " yes trump"},
        ],
        "evaldata/multilanguage.json": [{"prompt": "Кто это?"}, {"prompt": "¿Quién es?"}],
        "evaldata/Multi-hop.json": [{"imgid": "/data1/testdon/Image3.jpeg", "prompt": "Whom did he defeat?"}],
        "evaldata/miadata.json": [{"prompt": "What did the person do?"}],
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def read(root):
    return Mmubench().splits(root, "full")


def test_the_folder_above_is_understood_too(root, tmp_path_factory):
    above = tmp_path_factory.mktemp("above")
    root.rename(above / "SIU")
    assert 4 == len(read(above)["siu"])


def test_items_get_their_target_and_phrase(root):
    siu = read(root)["siu"]
    assert ["T1", "T2", "T3", "T4"] == [e.tags["part"] for e in siu]
    assert ["Jacob Campbell", "No. It is not him.", "", ""] == [e.tags["phrase"] for e in siu]
    assert "Who is it?" == siu[0].prompt and "Image118.jpg" == siu[0].image.path.name and siu[2].image is None


def test_ids_count_the_items(root):
    splits = read(root)
    assert all(len(set(split.ids)) == len(split) for split in splits.values())


def test_released_questions_take_the_pictures_in_turn_and_lose_blanks(root):
    test = read(root)["test"]
    assert ["Image2.jpg", "Image3.jpeg", "Image2.jpg"] == [e.image.path.name for e in test]
    assert ["trump", "yes", "yes\ntrump"] == [e.tags["keywords"] for e in test]
    assert ["trump", " yes ", " yes trump"] == [e.tags["raw_target"] for e in test]
    assert ["name", "presence", "presence"] == [e.tags["kind"] for e in test]


def test_refusals_leave_out_what_is_about_others(root):
    assert ["I do not know."] == [e.target for e in read(root)["refusal"]]


def test_multi_hop_questions_keep_their_picture(root):
    assert ["Image3.jpeg"] == [e.image.path.name for e in read(root)["multihop"]]


def test_the_record_keeps_others_in_retain(root):
    assert ["A musician."] == [e.target for e in read(root)["retain"]]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("¿Quién es?", "es"), ("Qui est-ce ?", "fr"), ("这是谁？", "zh"), ("Wer ist das?", "de"),
        ("これは誰ですか？", "ja"), ("Кто это?", "ru"), ("Who is it?", "en"),
    ],
)  # fmt: skip
def test_languages_are_told_by_letters_and_first_words(prompt, expected):
    assert expected == language(prompt)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("finetunedata/SIU.json", "[", "SIU.json: not JSON"),
        ("finetunedata/SIU.json", "[]", "at least one entry"),
        ("finetunedata/GA.json", '{"a": 1}', "must be a list of objects"),
        ("finetunedata/GA.json", '[{"conversations": []}]', "item 0: conversations must be one question"),
        ("finetunedata/GA.json", json.dumps([item("", "x")]), "a value is empty"),
        ("finetunedata/GA.json", json.dumps([item("Who?", "x", image="other.jpg")]), "picture other.jpg is not in"),
        ("finetunedata/SIU.json", json.dumps([item("Who?", "x", phrase="Jacob")]), "'Jacob' does not stand"),
        ("evaldata/execcuatedata.json", '[{"prompt": "Who?"}]', "item 0: target is empty"),
        ("evaldata/Multi-hop.json", '[{"prompt": "Who?", "imgid": "no.jpg"}]', "picture no.jpg is not in"),
        ("evaldata/miadata.json", '[{"prompt": 3}]', "prompt is empty or no text"),
    ],
)
def test_broken_files_are_refused(root, file, content, message):
    (root / file).write_text(content)
    with pytest.raises(UserError, match=message):
        read(root)


def test_turns_in_the_wrong_order_are_refused(root):
    broken = item("Who?", "x")
    broken["conversations"].reverse()
    (root / "finetunedata/GA.json").write_text(json.dumps([broken]))
    with pytest.raises(UserError, match="human and then gpt"):
        read(root)


@pytest.mark.parametrize("file", ["evaldata/miadata.json", "finetunedata/PO.json"])
def test_a_missing_file_is_named(root, file):
    (root / file).unlink()
    with pytest.raises(UserError, match=file):
        read(root)


def test_missing_pictures_are_named(root):
    for path in (root / "testdon").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="testdon: holds no picture"):
        read(root)
