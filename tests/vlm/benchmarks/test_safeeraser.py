"""SafeEraser's reader: what the splits hold, and malformed data that is refused with file, record and field."""

import json
import logging
import shutil

import pytest
from mmunlearn.vlm.benchmarks.safeeraser import Safeeraser

from mmunlearn.cards import read_card
from mmunlearn.errors import UserError
from mmunlearn.reproduce import Plan, Point, run_settings

SIZES = {"train_records": 2, "val_records": 1, "size_px": 32}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("safeeraser") / "mini"
    Safeeraser().build_mini(root, 0, SIZES)
    return root


@pytest.fixture
def root(built, tmp_path):
    shutil.copytree(built, tmp_path / "data")
    return tmp_path / "data"


def change(root, name, edit):
    """Apply `edit` to the content of a JSON file; what it returns replaces the content, if it returns anything."""
    path = root / "dataset" / name
    content = json.loads(path.read_text())
    result = edit(content)
    path.write_text(json.dumps(content if result is None else result))


def refusal(root, config=None):
    with pytest.raises(UserError) as caught:
        Safeeraser(config).splits(root, "full")
    assert 1 <= len(str(caught.value).splitlines()) <= 4
    return str(caught.value)


# ---- what the splits hold ---------------------------------------------------------------------------------------
def test_splits_follow_the_records(built):
    splits = Safeeraser().splits(built, "mini")
    records = json.loads((built / "dataset" / "all_train.json").read_text())
    val = json.loads((built / "dataset" / "all_val.json").read_text())
    pairs = [pair for record in records for pair in record["unsafe_pairs"]]
    assert [p["model_response"] for p in pairs] == [e.target for e in splits["forget"]]
    assert [p["sd_response"] for p in pairs] == [e.target for e in splits["pd"]]
    assert [p["question"] for p in pairs] == [e.prompt for e in splits["forget"]] == [e.prompt for e in splits["pd"]]
    benign = sum(key.startswith("UnharmPair") for record in records for key in record)
    assert benign == len(splits["retain"])
    assert 3 * len(pairs) == len(splits["efficacy"])
    val_pairs = sum(len(r["unsafe_pairs"]) for r in val)
    assert (3 * val_pairs, val_pairs, val_pairs) == tuple(len(splits[n]) for n in ("generality", "safe", "unseen"))
    for one, twin, record in zip(splits["forget"], splits["pd"], [r for r in records for _ in r["unsafe_pairs"]],
                                 strict=True):  # fmt: skip
        assert str(one.image.path).endswith(record["image_path"])
        assert str(twin.image.path).endswith(record["SDImage_path"])


def test_samples_have_ids_of_their_own(built):
    splits = Safeeraser({"samples": 2}).splits(built, "mini")
    assert 2 * len(splits["forget"]) == len(splits["efficacy"])
    first = splits["forget"][0]
    assert [f"{first.id}/s0", f"{first.id}/s1"] == list(splits["efficacy"].ids[:2])
    assert {"0", "1"} == {e.tags["sample"] for e in splits["efficacy"]}


def test_benign_questions_come_from_the_chosen_file(built):
    splits = Safeeraser({"benign": "train"}).splits(built, "mini")
    assert splits["retain"].ids == splits["benign"].ids
    assert splits["test"].ids == Safeeraser().splits(built, "mini")["benign"].ids


def test_sd_question_replaces_the_wording_on_the_twin(root):
    change(root, "all_train.json", lambda c: c[0]["unsafe_pairs"][0].update(sd_question="What is this?"))
    splits = Safeeraser().splits(root, "full")
    assert "What is this?" == splits["pd"][0].prompt != splits["forget"][0].prompt


def test_missing_twins_are_counted_and_leave_no_pd(root, caplog):
    change(root, "all_train.json", lambda c: c[0].pop("SDImage_path") and None)
    with caplog.at_level(logging.WARNING):
        splits = Safeeraser().splits(root, "full")
    assert "2 of 24 harmful questions" in caplog.text
    assert "pd" not in splits and 24 == len(splits["forget"])


def test_missing_twins_may_be_dropped_from_forget_and_pd(root):
    change(root, "all_train.json", lambda c: c[1]["unsafe_pairs"][0].pop("sd_response") and None)
    splits = Safeeraser({"without_twin": "drop"}).splits(root, "full")
    assert 23 == len(splits["forget"]) == len(splits["pd"])
    assert [e.prompt for e in splits["forget"]] == [e.prompt for e in splits["pd"]]


def test_paths_of_another_machine_are_found_below_the_data(root):
    change(root, "all_train.json", lambda c: c[0].update(image_path="/srv/someone/data/" + c[0]["image_path"]))
    assert Safeeraser().splits(root, "full")["forget"][0].image.path.is_file()


def test_files_may_lie_in_the_root_itself(root):
    assert len(Safeeraser().splits(root / "dataset", "full")["forget"])


# ---- malformed inputs -------------------------------------------------------------------------------------------
def test_not_json(root):
    (root / "dataset" / "all_train.json").write_text("[{]")
    message = refusal(root)
    assert "all_train.json" in message and "not JSON" in message


def test_empty_list(root):
    change(root, "all_val.json", lambda c: [])
    assert "all_val.json" in refusal(root)


def test_record_that_is_no_object(root):
    change(root, "all_train.json", lambda c: c.__setitem__(1, ["x"]))
    message = refusal(root)
    assert "line 2" in message and "list" in message


BROKEN = {
    "image_path missing": (lambda r: r.pop("image_path") and None, "image_path"),
    "image_path no text": (lambda r: r.update(image_path=3), "image_path"),
    "image_path leads out": (lambda r: r.update(image_path="../../etc/Violence/a.jpg"), "image_path"),
    "image_path without folder": (lambda r: r.update(image_path="a.jpg"), "image_path"),
    "unknown category": (lambda r: r.update(image_path="dataset/images/Violense/a.jpg"), "Violence"),
    "twin leads out": (lambda r: r.update(SDImage_path="dataset/../../a/b.jpg"), "SDImage_path"),
    "unsafe_pairs missing": (lambda r: r.pop("unsafe_pairs") and None, "unsafe_pairs"),
    "unsafe_pairs empty": (lambda r: r.update(unsafe_pairs=[]), "unsafe_pairs"),
    "unsafe_pairs no list": (lambda r: r.update(unsafe_pairs={"question": "x"}), "unsafe_pairs"),
    "pair no object": (lambda r: r.update(unsafe_pairs=["x"]), "unsafe_pairs[0]"),
    "question blank": (lambda r: r["unsafe_pairs"][0].update(question="  "), "unsafe_pairs[0].question"),
    "answer missing": (lambda r: r["unsafe_pairs"][1].pop("model_response") and None, "unsafe_pairs[1].model_response"),
    "sd_response no text": (lambda r: r["unsafe_pairs"][0].update(sd_response=["x"]), "unsafe_pairs[0].sd_response"),
    "benign no object": (lambda r: r.update(UnharmPair_image1="x"), "UnharmPair_image1"),
    "benign without answer": (lambda r: r.update(UnharmPair_text1={"Question": "x"}), "UnharmPair_text1.Prediction"),
    "unknown benign field": (lambda r: r.update(UnharmPair_txt1={}), "UnharmPair_txt1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_record_is_named_by_file_line_and_field(name, root):
    edit, field = BROKEN[name]
    change(root, "all_train.json", lambda c: edit(c[4]))
    message = refusal(root)
    assert "all_train.json, line 5" in message and field in message


def test_missing_pictures_are_counted(root):
    folder = root / "dataset" / "images" / "Weapon"
    shutil.rmtree(folder)
    assert "2 of the pictures" in refusal(root)


@pytest.mark.parametrize("name", ["all_train.json", "all_val.json", "prompt.json"])
def test_missing_file_is_named(name, root):
    (root / "dataset" / name).unlink()
    message = refusal(root)
    assert name in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "idk"), ({"refusals": ["no"]}, "idk"), ({"idk": []}, "idk"), ({"idk": "no"}, "idk"),
        ({"idk": ["no", " "]}, "idk"), ({"idk": ["no"], "unsafe_words": ["x"]}, "unsafe_words"),
        ({"idk": ["no"], "unsafe_words": {"Wepon": ["x"]}}, "Weapon"),
        ({"idk": ["no"], "unsafe_words": {"Weapon": [3]}}, "unsafe_words.Weapon"),
    ],
)  # fmt: skip
def test_broken_prompts_are_refused(content, words, root):
    change(root, "prompt.json", lambda c: content)
    message = refusal(root)
    assert "prompt.json" in message and words in message


# ---- the card -----------------------------------------------------------------------------------------------------
def test_full_edition_starts_from_the_published_model_and_has_no_gold_row():
    card = read_card("safeeraser")
    plan = Plan(benchmark="safeeraser", edition="full", out=None)
    original = run_settings(card, plan, Point("original", 0))
    assert ("as_given", "llava-hf/llava-1.5-7b-hf") == (original["method"]["name"], card.editions["full"].model["name"])
    assert ("mini",) == card.rows["retrain"].editions
    popd = run_settings(card, plan, Point("popd", 0))
    assert (32, 256) == (popd["model"]["lora"]["r"], popd["model"]["lora"]["alpha"])


def test_reference_preset_brings_the_released_label_builder_and_divergence():
    card = read_card("safeeraser")
    plan = Plan(benchmark="safeeraser", edition="full", out=None, preset="reference")
    settings = run_settings(card, plan, Point("klpd", 0))
    assert ("safeeraser", "all") == (settings["model"]["labels"], settings["method"]["kl_scope"])
    plain = Plan(benchmark="safeeraser", edition="full", out=None)
    assert "labels" not in run_settings(card, plain, Point("klpd", 0))["model"]


def test_published_cells_are_the_sheets():
    cells = read_card("safeeraser").tables["main"].paper.cells
    assert (0.303, 0.997) == (cells["popd"]["safe/sarr"], cells["popd"]["generality/rr"])
    assert (0.616, 0.28) == (cells["gdpd"]["retain/rouge_swapped"], cells["gdpd"]["safe/sarr"])
    assert {"ga", "gdpd", "po", "popd", "sineproject"} == set(cells)
