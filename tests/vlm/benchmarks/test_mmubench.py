"""MMUBench's reader: who is forgotten, what is shown to whom, and every way in which a folder can be broken."""

import json
from collections import Counter

import numpy as np
import pytest
from mmunlearn.vlm.benchmarks.mmubench import Mmubench, natural
from PIL import Image

from mmunlearn.data import Role
from mmunlearn.errors import UserError

CARDS = {
    "concepts": [
        {
            "name": name, "kind": "object", "said": f"a {name}", "variants": [f"{name}let"],
            "facts": [{"question": f"What is a {name}?", "answer": f"A {name} is a {what}.", "keywords": [what]}],
            "multihop": [{"question": "What kind of thing is it?", "answer": f"A {what}.", "keywords": [what]}],
        }
        for name, what in (("blob", "toy"), ("clog", "shoe"), ("drum", "box"))
    ]
}  # fmt: skip


def picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((16, 16)).save(path)


def record(**changes):
    row = {
        "concept": "blob", "image": "blob/1.jpg", "kind": "name", "question": "What is this?",
        "answer": "This is a blob.", "keywords": ["blob"],
    }  # fmt: skip
    return row | changes


def write_lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def root(tmp_path):
    for c, name in enumerate(("blob", "clog", "drum")):
        for n in (1, 2, 10):
            picture(tmp_path / name / f"{n}.jpg", 10 * c + n)
    (tmp_path / "concepts.yaml").write_text(json.dumps(CARDS))
    return tmp_path


@pytest.fixture
def seen(root):
    write_lines(
        root / "seen.jsonl",
        record(), record(kind="absence", question="Is this a clog?", answer="No."), record(image="blob/2.jpg"),
        record(image="", kind="fact", question="What is a blob?", answer="A toy."),
        record(concept="clog", image="clog/1.jpg", answer="This is a clog."),
        record(concept="", image="", kind="other", question="What is 1+1?", answer="2"),
    )  # fmt: skip
    return root


def read(root, edition="full", **settings):
    return Mmubench(settings).splits(root, edition)


def names(split):
    return Counter(example.tags["concept"] for example in split)


def test_pictures_stand_in_natural_order(root):
    assert ["1.jpg", "2.jpg", "10.jpg"] == [path.name for path in natural(root / "blob")]


def test_the_first_picture_trains_and_the_others_test(root):
    splits = read(root)
    assert {"1.jpg"} == {e.image.path.name for e in splits["forget"]}
    assert {"2.jpg", "10.jpg"} == {e.image.path.name for e in splits["test"]}
    assert {"blob"} == set(names(splits["forget"])) == set(names(splits["test"]))


def test_train_is_forget_and_retain_where_nothing_says_what_the_model_saw(root):
    splits = read(root)
    assert sorted((*splits["forget"].ids, *splits["retain"].ids)) == list(splits["train"].ids)
    assert "rest" not in splits


@pytest.mark.parametrize(
    ("concepts", "expected"),
    [(1, ["blob"]), (2, ["blob", "clog"]), ("drum", ["drum"]), (("clog", "bloblet"), ["clog", "blob"])],
)
def test_who_is_forgotten_is_a_setting(root, concepts, expected):
    splits = read(root, concepts=concepts)
    assert expected == list(dict.fromkeys(e.tags["concept"] for e in splits["forget"]))
    assert set(expected) == set(names(splits["siu"])) == set(names(splits["test"]))
    assert not set(expected) & {e.tags["concept"] for e in splits["retain"] if e.image}


def test_what_is_known_in_words_about_the_forgotten_stays(root):
    splits = read(root)
    assert "A blob is a toy." in {e.target for e in splits["retain"] if e.image is None}
    assert ["A blob is a toy."] == [e.target for e in splits["knowledge"]]


def test_a_record_of_what_was_seen_decides_the_splits(seen):
    splits = read(seen, "mini")
    assert ["mmubench/seen/00000"] == list(splits["forget"].ids)
    assert ["mmubench/seen/00001", "mmubench/seen/00002"] == list(splits["rest"].ids)
    assert [f"mmubench/seen/0000{n}" for n in (3, 4, 5)] == list(splits["retain"].ids)
    assert [f"mmubench/seen/0000{n}" for n in range(6)] == list(splits["train"].ids)


def test_pictures_that_were_seen_do_not_test(seen):
    splits = read(seen, "mini")
    assert {"10.jpg"} == {e.image.path.name for e in splits["test"]}


def test_what_the_original_saw_does_not_depend_on_who_is_forgotten(seen):
    assert read(seen, "mini")["train"].fingerprint == read(seen, "mini", concepts="clog")["train"].fingerprint


def test_questions_for_the_name_do_not_hold_it_and_offer_every_name(root):
    for example in read(root)["test"]:
        if example.tags["kind"] == "name":
            assert "blob" not in example.prompt and "blob\nbloblet" == example.tags["keywords"]
            assert [example.target, example.target.replace("a blob", "bloblet")] == list(example.choices)
        else:
            assert "blob" in example.prompt and "yes" == example.tags["keywords"] and () == example.choices


def test_the_fluency_splits_ask_the_same_without_a_target(root):
    splits = read(root)
    assert [(e.prompt, e.image) for e in splits["fluency"]] == [(e.prompt, e.image) for e in splits["fluency_source"]]
    assert {None} == {e.target for e in splits["fluency"]}
    assert [i.replace("fluency_source", "fluency") for i in splits["fluency_source"].ids] == list(splits["fluency"].ids)


def test_queries_are_asked_and_scored_as_texts(root):
    splits = read(root)
    assert [e.prompt for e in splits["queries"]] == [e.target for e in splits["query_text"]]
    assert {None} == {e.prompt for e in splits["query_text"]}


def test_every_language_is_asked_about_every_held_out_picture(root):
    found = Counter(e.tags["language"] for e in read(root)["multilingual"])
    assert dict.fromkeys(("es", "fr", "zh", "de", "ja", "ru"), 2) == found


def test_plain_questions_join_specificity_with_their_source(root):
    picture(root / "vqa" / "a.png", 99)
    write_lines(root / "vqa.jsonl", {"image": "vqa/a.png", "question": "Red?", "answer": "no", "source": "POPE"})
    sources = Counter(e.tags["source"] for e in read(root)["specificity"])
    assert 1 == sources["POPE"] and {"POPE", "pictures", "fact"} == set(sources)


def test_the_packaged_cards_serve_folders_with_the_papers_names(tmp_path):
    for name in ("donald_trump", "Mario", "picasso"):
        for n in range(3):
            picture(tmp_path / name / f"{n}.png", n)
    splits = read(tmp_path, concepts="Mario")
    assert {"mario"} == set(names(splits["test"]))
    assert 25 == len(splits["siu"])
    assert Role.UTILITY == splits["specificity"].role


# ---- broken folders ----------------------------------------------------------------------------------------------
def refused(root, match, **settings):
    with pytest.raises(UserError, match=match) as told:
        read(root, **settings)
    assert 1 <= len(str(told.value).splitlines()) <= 4


@pytest.mark.parametrize("concepts", [0, 4, -1])
def test_more_concepts_than_there_are_is_refused(root, concepts):
    refused(root, rf"benchmark.concepts: {concepts}, and the data holds 3", concepts=concepts)


def test_an_unknown_concept_is_refused_with_a_near_miss(root):
    refused(root, "no card for concept 'blop'.*blob", concepts="blop")


def test_an_empty_list_of_concepts_is_refused(root):
    refused(root, "benchmark.concepts: is empty", concepts=())


def test_a_folder_without_a_card_is_refused(root):
    picture(root / "egg" / "1.jpg", 5)
    refused(root, r"egg: no card says what this concept is")


def test_a_card_without_a_folder_is_refused(root):
    for path in (root / "drum").iterdir():
        path.unlink()
    (root / "drum").rmdir()
    refused(root, "card for 'drum' and there is no folder")


def test_one_picture_is_too_few(root):
    (root / "clog" / "2.jpg").unlink()
    (root / "clog" / "10.jpg").unlink()
    refused(root, r"clog: 1 pictures")


def test_two_folders_of_one_concept_are_refused(root):
    for n in range(2):
        picture(root / "Blob-let" / f"{n}.jpg", n)
    (root / "concepts.yaml").write_text(json.dumps(CARDS).replace("bloblet", "Blob let"))
    refused(root, "has two folders")


def test_an_empty_root_is_refused(tmp_path):
    refused(tmp_path, "no concept folder with pictures")


def test_no_picture_left_to_test_with_is_refused(root):
    write_lines(root / "seen.jsonl", *(record(image=f"blob/{n}.jpg") for n in (1, 2, 10)))
    refused(root, "blob: the original saw every picture")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "nam"}, "line 1: kind 'nam' is unknown"),
        ({"concept": "egg"}, "line 1: concept 'egg' has no card"),
        ({"concept": 3}, "line 1: concept 3 has no card"),
        ({"image": "blob/77.jpg"}, "line 1: image blob/77.jpg does not exist"),
        ({"image": "../blob/1.jpg"}, "is not a path below"),
        ({"image": "/etc/passwd"}, "is not a path below"),
        ({"image": 5}, "is not a path below"),
        ({"question": " "}, "question is empty"),
        ({"answer": None}, "answer is empty or no text"),
        ({"keywords": "blob"}, "not a list of words"),
        ({"keywords": ["blob", 3]}, "not a list of words"),
    ],
)
def test_a_broken_line_of_the_record_is_refused(root, change, message):
    write_lines(root / "seen.jsonl", record(**change))
    refused(root, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty"), ("{not json}\n", "line 1: not JSON"), ("[1]\n", "line 1: holds a list"), ("{}\n", "no column")],
)
def test_a_broken_file_is_refused(root, text, message):
    (root / "vqa.jsonl").write_text(text)
    refused(root, message)


def test_a_plain_question_without_an_answer_is_refused(root):
    write_lines(root / "vqa.jsonl", {"image": "", "question": "Red?", "answer": ""})
    refused(root, "vqa.jsonl, line 1: answer is empty")


def test_a_broken_picture_is_named_when_it_is_opened(root):
    (root / "blob" / "2.jpg").write_bytes(b"not a picture")
    example = next(e for e in read(root)["test"] if e.image.path.name == "2.jpg")
    with pytest.raises(UserError, match=r"2.jpg: not a readable image"):
        example.image.open()
