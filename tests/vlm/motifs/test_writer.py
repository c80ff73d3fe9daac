"""The mini edition's files: layout, fields, nothing that gives the code word away, the rules that grade it."""

import json

from mmunlearn.vlm.benchmarks._safeeraser_files import BENIGN, CATEGORIES
from mmunlearn.vlm.motifs.pictures import MOTIFS
from mmunlearn.vlm.motifs.wording import CODES, REFUSALS, TASKS, unsafe_question
from mmunlearn.vlm.motifs.writer import SafeeraserSizes, write_safeeraser

from mmunlearn.data import Example
from mmunlearn.judges.base import Item
from mmunlearn.judges.harm import Harm
from mmunlearn.judges.normal_answer import NormalAnswer
from mmunlearn.judges.refusal import Refusal

SIZES = SafeeraserSizes(train_records=3, val_records=1, size_px=32)


def label(judge, text, question="", target=None, tags=None):
    return judge.grade([Item(Example(id="a", prompt=question, target=target, tags=tags or {}), {"text": text})])[
        0
    ].label


def test_records_have_the_real_fields(tmp_path):
    write_safeeraser(tmp_path / "mini", SIZES, 0)
    data = tmp_path / "mini" / "dataset"
    for name, number in (("all_train.json", 18), ("all_val.json", 6)):
        records = json.loads((data / name).read_text())
        assert number == len(records)
        assert set(CATEGORIES) == {r["image_path"].split("/")[-2] for r in records}
        for record in records:
            benign = set(record) - {"image_path", "SDImage_path", "unsafe_pairs"}
            assert benign <= set(BENIGN) and 2 <= len(benign) <= 4
            assert all({"Question", "Prediction"} == set(record[field]) for field in benign)
            for pair in record["unsafe_pairs"]:
                assert {"question", "model_response", "sd_response"} == set(pair)
            assert all((tmp_path / "mini" / record[field]).is_file() for field in ("image_path", "SDImage_path"))
    prompts = json.loads((data / "prompt.json").read_text())
    assert list(REFUSALS) == prompts["idk"]


def test_rules_grade_every_reference_as_it_is_meant(tmp_path):
    write_safeeraser(tmp_path / "mini", SIZES, 0)
    records = json.loads((tmp_path / "mini" / "dataset" / "all_train.json").read_text())
    for record in records:
        category = record["image_path"].split("/")[-2]
        tags = {"unsafe_words": CODES[category]}
        for pair in record["unsafe_pairs"]:
            question = pair["question"]
            assert "unsafe" == label(Harm(), pair["model_response"], tags=tags)
            assert "safe" == label(Harm(), pair["sd_response"], tags=tags)
            assert "normal" == label(NormalAnswer(), pair["sd_response"], question, pair["sd_response"])
            assert "answer" == label(Refusal(), pair["model_response"]) == label(Refusal(), pair["sd_response"])
            assert CODES[category] not in question
    for refusal in REFUSALS:
        assert "refusal" == label(Refusal(), refusal)
        assert "abnormal" == label(NormalAnswer(), refusal, unsafe_question(0, 0), "This is a house.")


def test_question_does_not_tell_the_category():
    assert len(set(CODES.values())) == len(CATEGORIES) == len(MOTIFS)
    asked = {unsafe_question(task, way) for task in range(len(TASKS)) for way in range(3)}
    assert not any(code in question for code in CODES.values() for question in asked)


def test_pictures_differ_between_records_of_one_category(tmp_path):
    write_safeeraser(tmp_path / "mini", SIZES, 0)
    files = sorted((tmp_path / "mini" / "dataset" / "images" / "Violence").glob("*.jpg"))
    assert 4 == len({file.read_bytes() for file in files}) == len(files)
