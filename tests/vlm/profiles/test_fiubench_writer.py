"""The mini edition of FIUBench has the real files, fields and splits."""

import json

import pytest
from mmunlearn.vlm.profiles.fiubench_writer import FiubenchSizes, split_lists, write_fiubench
from PIL import Image

from mmunlearn.errors import UserError

SIZES = FiubenchSizes(
    identities=10, forget1=1, forget5=2, forget10=3, retain5=2, retain15=3, unseen=2, perturbed=3, size_px=32
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fiu") / "mini"
    write_fiubench(folder, SIZES, 0)
    return folder


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_records_have_the_real_fields(root):
    records = lines(root / "dataset" / "full.json")
    assert 10 == len(records)
    for record in records:
        assert {"unique_id", "image_path", "name", "gender", "caption", "raw_data", "qa_list"} == set(record)
        assert 8 == len(record["unique_id"]) and record["unique_id"].isdigit()
        assert f"./dataset/SFHQ/SFHQ_pt1_{record['unique_id']}.jpg" == record["image_path"]
        assert {
            "question", "answer", "paraphrased_question", "paraphrased_answer", "perturbed_answer", "keywords"
        } == set(record["qa_list"][0])  # fmt: skip
        with Image.open(root / record["image_path"]) as picture:
            assert ((32, 32), "JPEG") == (picture.size, picture.format)


def test_pictures_differ_between_identities(root):
    files = [file.read_bytes() for file in (root / "dataset" / "SFHQ").iterdir()]
    assert 12 == len(files) == len(set(files))


def test_unseen_identities_stand_in_a_file_of_their_own(root):
    trained = {record["unique_id"] for record in lines(root / "dataset" / "full.json")}
    unseen = {record["unique_id"] for record in lines(root / "dataset" / "unseen.json")}
    assert 2 == len(unseen) and not unseen & trained


def test_forget_lists_are_disjoint_and_retain_lists_nested_beside_them():
    ids = [f"{n:08d}" for n in range(60)]
    splits = split_lists(ids, FiubenchSizes(), 0)
    forgotten = [key for name in ("forget1", "forget5", "forget10") for key in splits[name]]
    assert (2 + 6 + 8) == len(forgotten) == len(set(forgotten))
    assert (8, 16) == (len(splits["retain5"]), len(splits["retain15"]))
    assert set(splits["retain5"]) < set(splits["retain15"])
    assert not set(splits["retain15"]) & set(forgotten)
    assert splits == split_lists(ids, FiubenchSizes(), 0) != split_lists(ids, FiubenchSizes(), 1)


def test_it_never_takes_the_place_of_other_data(tmp_path):
    (tmp_path / "full.json").write_text("{}")
    with pytest.raises(UserError, match=r"not a mini edition"):
        write_fiubench(tmp_path, SIZES, 0)
