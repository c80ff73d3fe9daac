"""The FIUBench reader on little folders in the real layout: splits, examples, and every fault named in one line."""

import copy
import io
import json

import pytest
from mmunlearn.vlm.benchmarks.fiubench import Fiubench
from PIL import Image

from mmunlearn.data import Role
from mmunlearn.errors import UserError

IDS = [f"{n:08d}" for n in range(1, 9)]
LISTS = {
    "forget1": IDS[:1], "forget5": IDS[1:3], "forget10": IDS[3:4], "retain5": IDS[5:6], "retain15": IDS[5:7],
}  # fmt: skip


def item(key, number):
    return {
        "question": f"question {number}?", "answer": f"answer {number} of {key}.",
        "paraphrased_question": [f"q {number} {way}?" for way in "abc"], "paraphrased_answer": f"again {number}.",
        "perturbed_answer": [f"wrong {number} {way}." for way in "xyz"], "keywords": [f"key {number}", key],
    }  # fmt: skip


def record(key):
    return {
        "unique_id": key, "image_path": f"./dataset/SFHQ/SFHQ_pt1_{key}.jpg", "name": "n", "gender": "female",
        "caption": "c", "raw_data": {}, "qa_list": [item(key, 0), item(key, 1)],
    }  # fmt: skip


def jpeg(shade):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(stream, "JPEG")
    return stream.getvalue()


def write(folder, records, lists=LISTS, refusals=("no.", "I cannot say.")):
    (folder / "SFHQ").mkdir(parents=True, exist_ok=True)
    (folder / "full.json").write_text("".join(json.dumps(one) + "\n" for one in records))
    (folder / "split.json").write_text(json.dumps(lists))
    (folder / "idontknow.json").write_text(json.dumps({"normal": list(refusals)}))
    for number, one in enumerate(IDS):
        (folder / "SFHQ" / f"SFHQ_pt1_{one}.jpg").write_bytes(jpeg(number * 20))


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "dataset", [record(key) for key in IDS])
    return tmp_path


def read(root, edition="mini", **settings):
    return Fiubench(settings).splits(root, edition)


def identities(split):
    return list(dict.fromkeys(example.tags["identity"] for example in split))


def test_splits_of_the_reference(root):
    splits = read(root)
    assert LISTS["forget5"] == identities(splits["forget"])
    assert IDS[4:] == identities(splits["retain"])
    assert [IDS[0], IDS[3]] == identities(splits["rest"])
    assert IDS == identities(splits["train"])
    assert LISTS["retain5"] == identities(splits["test"])
    assert {
        "forget": Role.FORGET, "retain": Role.RETAIN, "rest": Role.TRAIN, "train": Role.TRAIN, "test": Role.UTILITY,
        "forget_ape": Role.FORGET, "unseen": Role.UNSEEN, "refusal": Role.UTILITY,
    } == {name: split.role for name, split in splits.items()}  # fmt: skip


@pytest.mark.parametrize("name", ["forget1", "forget5", "forget10"])
def test_retain_leaves_out_all_three_forget_lists_whichever_is_forgotten(root, name):
    splits = read(root, split=name)
    assert LISTS[name] == identities(splits["forget"])
    assert IDS[4:] == identities(splits["retain"])
    assert read(root)["train"].fingerprint == splits["train"].fingerprint


def test_an_example_holds_question_answer_choices_and_keywords(root):
    example = read(root)["forget"][1]
    assert f"fiubench/{IDS[1]}/01" == example.id
    assert ("question 1?", f"answer 1 of {IDS[1]}.") == (example.prompt, example.target)
    assert ("again 1.", "wrong 1 x.", "wrong 1 y.", "wrong 1 z.") == example.choices
    assert f"key 1\n{IDS[1]}" == example.tags["keywords"]
    assert (8, 8) == example.image.open().size


def test_paraphrased_questions_are_three_a_question(root):
    splits = read(root)
    assert 3 * len(splits["forget"]) == len(splits["forget_ape"])
    first = splits["forget_ape"][4]
    assert ("q 1 b?", f"answer 1 of {IDS[1]}.") == (first.prompt, first.target)
    assert f"key 1\n{IDS[1]}" == first.tags["keywords"]


def test_refusals_have_no_picture_and_no_question(root):
    refusal = read(root)["refusal"]
    assert ["no.", "I cannot say."] == [example.target for example in refusal]
    assert all(example.image is None and example.prompt is None for example in refusal)


def test_without_unseen_identities_untrue_answers_stand_for_them(root):
    unseen = read(root)["unseen"]
    assert ["wrong 0 x.", "wrong 1 x."] * 2 == [example.target for example in unseen]
    write_unseen(root, ["00000099"])
    assert ["00000099"] == identities(read(root)["unseen"])


def write_unseen(root, keys):
    (root / "dataset" / "unseen.json").write_text("".join(json.dumps(record(key)) + "\n" for key in keys))
    for key in keys:
        (root / "dataset" / "SFHQ" / f"SFHQ_pt1_{key}.jpg").write_bytes(jpeg(255))


def test_a_json_list_reads_as_lines_do_and_the_hub_s_flat_folder_as_the_repository_s(root, tmp_path):
    lines = read(root)["train"].fingerprint
    folder = root / "dataset"
    (folder / "full.json").write_text(json.dumps([record(key) for key in IDS]))
    assert lines == read(root)["train"].fingerprint == read(folder)["train"].fingerprint


def test_only_the_first_four_hundred_records_are_read(root, monkeypatch):
    monkeypatch.setattr("mmunlearn.vlm.benchmarks.fiubench.IDENTITIES", 7)
    assert IDS[:7] == identities(read(root)["train"])


@pytest.mark.parametrize("content", [["a.", "b."], {"idk": ["a.", "b."]}, {"normal": ["a.", "b."], "head": ["c."]}])
def test_refusals_are_found_in_each_known_form(root, content):
    (root / "dataset" / "idontknow.json").write_text(json.dumps(content))
    assert ["a.", "b."] == [example.target for example in read(root)["refusal"]]


def test_refusals_may_stand_in_the_prompt_file(root):
    (root / "dataset" / "idontknow.json").rename(root / "dataset" / "prompt.json")
    (root / "dataset" / "prompt.json").write_text(json.dumps({"icd": ["tell me"], "idk": ["a."]}))
    assert ["a."] == [example.target for example in read(root)["refusal"]]


def test_full_data_of_another_size_are_refused_unless_allowed(root):
    with pytest.raises(UserError, match=r"split.json: 4 examples for forget, expected 400"):
        read(root, "full")
    assert 4 == len(read(root, "full", check_counts=False)["forget"])


# ---- malformed -----------------------------------------------------------------------------------------------------
def _records(change):
    """A fault in one record of full.json."""

    def apply(root):
        records = [record(key) for key in IDS]
        change(records)
        write(root / "dataset", records)

    return apply


def _lists(change):
    def apply(root):
        lists = copy.deepcopy(LISTS)
        lists = change(lists) or lists
        write(root / "dataset", [record(key) for key in IDS], lists)

    return apply


def _file(name, text):
    def apply(root):
        path = root / "dataset" / name
        path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text)

    return apply


def _gone(name):
    return lambda root: (root / "dataset" / name).unlink()


def _set(number, field, value):
    return _records(lambda records: records[number].__setitem__(field, value))


def _item(field, value):
    return _records(lambda records: records[2]["qa_list"][1].__setitem__(field, value))


FAULTS = {
    "no full.json": (_gone("full.json"), "no full.json here nor under dataset/"),
    "empty full.json": (_file("full.json", ""), "is empty"),
    "not UTF-8": (_file("full.json", b'{"unique_id": "\xff"}'), "line 1: not UTF-8"),
    "half a line": (_file("full.json", json.dumps(record(IDS[0])) + '\n{"unique_id": '), "full.json, line 2: not JSON"),
    "a list of texts": (_file("full.json", '["a", "b"]'), "line 1: holds a str"),
    "no id": (_records(lambda r: r[3].pop("unique_id")), "line 4: unique_id is missing"),
    "an id that is a number": (_set(1, "unique_id", 12), "line 2: unique_id must be text"),
    "an id twice": (_set(1, "unique_id", IDS[0]), "unique_id '00000001' stands in line 1 too"),
    "another name of the picture": (
        _records(lambda r: r[0].__setitem__("imagepath", r[0].pop("image_path"))), "image_path is missing. Did you mean"
    ),
    "a path upwards": (_set(0, "image_path", "../../etc/x.jpg"), "is not a path below the data"),
    "an absolute path": (_set(0, "image_path", "/x.jpg"), "is not a path below the data"),
    "pictures missing": (
        lambda root: [(root / "dataset" / "SFHQ" / f"SFHQ_pt1_{key}.jpg").unlink() for key in IDS[:3]],
        "3 of the 8 pictures that full.json lists are missing (first: SFHQ_pt1_00000001.jpg)",
    ),
    "no questions": (_set(2, "qa_list", []), "line 3: qa_list is no list of questions, or is empty"),
    "questions by name": (_set(2, "qa_list", {"question": "?"}), "line 3: qa_list is no list"),
    "a question that is text": (_set(2, "qa_list", ["?"]), "qa_list[0] is a str"),
    "a blank question": (_item("question", "  "), "line 3: qa_list[1].question must be text that is not blank"),
    "an answer that is a list": (_item("answer", ["a"]), "qa_list[1].answer must be text"),
    "no paraphrased answer": (
        _records(lambda r: r[2]["qa_list"][1].pop("paraphrased_answer")), "qa_list[1].paraphrased_answer is missing"
    ),
    "one paraphrase as text": (_item("paraphrased_question", "?"), "qa_list[1].paraphrased_question must be a list"),
    "no untrue answer": (_item("perturbed_answer", []), "qa_list[1].perturbed_answer must be a list of texts"),
    "an untrue answer that is null": (_item("perturbed_answer", ["a", None]), "perturbed_answer holds None"),
    "keywords that are a text": (_item("keywords", "a, b"), "qa_list[1].keywords must be a list"),
    "a blank keyword": (_item("keywords", ["a", ""]), "qa_list[1].keywords holds ''"),
    "no split.json": (_gone("split.json"), "split.json: no such file"),
    "split.json cut off": (_file("split.json", '{"forget1": ['), "split.json: not JSON"),
    "split.json a list": (_file("split.json", "[]"), "holds a list, not lists by name"),
    "a misspelt list": (
        _lists(lambda lists: lists.__setitem__("forgot5", lists.pop("forget5"))), "has no list forget5. Did you mean"
    ),
    "an empty list": (_lists(lambda lists: lists.__setitem__("forget1", [])), "forget1 must be a list"),
    "ids as numbers": (_lists(lambda lists: lists.__setitem__("forget1", [1])), "forget1 must be a list"),
    "an id twice in a list": (
        _lists(lambda lists: lists["forget5"].append(IDS[1])), "forget5 names 00000002 twice"
    ),
    "an unknown id": (_lists(lambda lists: lists["forget5"].append("1234")), "names 1 identities that full.json has"),
    "forget lists that share": (
        _lists(lambda lists: lists["forget10"].append(IDS[0])), "00000001 is in forget1 and in forget10"
    ),
    "a forgotten identity in retain5": (
        _lists(lambda lists: lists["retain5"].append(IDS[0])), "00000001 is in forget1 and in retain5"
    ),
    "no refusals": (_gone("idontknow.json"), "idontknow.json: no such file"),
    "refusals cut off": (_file("idontknow.json", "["), "idontknow.json: not JSON"),
    "refusals of another form": (_file("idontknow.json", '{"head": ["x"]}'), "holds no list of refusals"),
    "a blank refusal": (_file("idontknow.json", '["x", " "]'), "refusal 2 is no text or blank"),
    "an unseen identity that was trained": (
        lambda root: write_unseen(root, [IDS[0]]), "00000001 is in unseen.json and in train"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_in_one_line(root, name):
    spoil, message = FAULTS[name]
    spoil(root)
    with pytest.raises(UserError) as caught:
        read(root)
    text = str(caught.value)
    assert message in text
    assert 1 == len(text.splitlines())


def test_a_misspelt_split_is_an_error_with_the_choices(root):
    with pytest.raises(UserError, match=r"benchmark\[fiubench\].split.*forget1.*forget5.*forget10"):
        read(root, split="forgot5")
