"""UnLOK-VQA's reader on a little edition in the real layout, whole and broken."""

import json
import logging
import shutil

import pytest
from mmunlearn.vlm.benchmarks._unlok_files import NEIGHBOURS, REPHRASED, Pictures, read_records
from mmunlearn.vlm.benchmarks.unlok_vqa import UnlokVqa
from mmunlearn.vlm.unlok.wording import LOC_MARK, OFFSET, PREFIXES, bare_question, fact_prompt, other_prompt, prefixed
from mmunlearn.vlm.unlok.writer import (
    FACTS,
    RECORDS,
    RETAIN,
    SEEN,
    UNSEEN,
    Fact,
    UnlokSizes,
    beside_the_fact,
    write_unlok,
)

from mmunlearn.errors import UserError
from mmunlearn.settings import read_yaml

WRITE = write_unlok
SIZES = UnlokSizes(records=6, retain=6, unseen=3, renderings=1, size_px=32)


def splits(root, **settings):
    return UnlokVqa({"draws": 3, **settings}).splits(root, "mini")


def change(root, how, name=RECORDS, at=0):
    """Change one entry of a file of records, or (at None) all of it."""
    entries = json.loads((root / name).read_text())
    made = how(entries if at is None else entries[at])
    (root / name).write_text(json.dumps(entries if made is None or at is not None else made))


def test_prompts_are_the_benchmark_s():
    assert fact_prompt("Why?") == "Answer the question in one word\n Question: Why? Answer:"
    assert other_prompt("Why?") == "Answer the question in one word:\n Question: Why? Answer:"
    assert len("Answer the question in one word\n Question: ") == OFFSET
    assert prefixed(fact_prompt("Why?"), PREFIXES[0]) == fact_prompt("I'm trying out. Why?")
    assert bare_question(fact_prompt("Why?")) == bare_question(other_prompt("Why?")) == "Why?"


def test_sizes_of_the_splits(root):
    found = {name: len(split) for name, split in splits(root).items()}
    assert found["forget"] == found["goals"] == found["neighbour_image"] == 6
    assert found["paraphrase"] == 18 and found["neighbour"] == 12 and found["retain_each"] == 18
    assert found["test"] == 6 and found["unseen"] == 3


def test_a_fact_carries_all_that_attacks_need(root):
    record = json.loads((root / RECORDS).read_text())[0]
    fact = splits(root)["forget"][0]
    assert fact.prompt == fact_prompt(record["src"]) and fact.target == record["pred"]
    assert fact.tags["record"] == "00001" and fact.tags["alternative"] == record["alt_ans"][0]
    assert fact.choices == (record["alt_ans"][0], "dummy")
    assert fact.tags["rephrasings"].split("\n") == record["rephrase"]
    question, answer = fact.tags["neighbours"].split("\n")[0].split("\t")
    assert (LOC_MARK + question, answer) == (record["loc"][0], record["loc_ans"][0].split()[0])
    assert {"image_easy", "image_medium", "image_hard"} <= set(fact.tags)


@pytest.mark.parametrize(
    ("kind", "icon", "expected"),
    [
        ("use", "magnifying-glass-tilted-left", ["glass", "thing"]),
        ("country", "kangaroo", ["kangaroo", "animal"]),
        ("animal", "owl", ["owl", "animal"]),
    ],
)
def test_neighbours_name_the_object_in_one_word_and_tell_animals_of_every_kind(kind, icon, expected):
    source = read_yaml(FACTS)
    fact = Fact(1, kind, icon, source["kinds"][kind]["facts"][icon], source["kinds"][kind])
    assert expected == [answer for _, answer in beside_the_fact(fact, source)]


def test_every_split_of_a_fact_names_its_edit_and_retain_names_none(root):
    made = splits(root)
    for name in ("paraphrase", "neighbour", "neighbour_image", "retain_each"):
        assert {e.tags["record"] for e in made[name]} == {e.tags["record"] for e in made["forget"]}
    assert not any("record" in e.tags for name in ("retain", "train", "test", "unseen") for e in made[name])


def test_draws_belong_to_the_record(root):
    made, fewer = splits(root)["retain_each"], splits(root, records=2)["retain_each"]
    assert made.ids[:6] == fewer.ids  # whatever other records there are
    asked = {key: [e.id.rpartition("/")[2] for e in made if e.tags["record"] == key] for key in ("00001", "00002")}
    same = splits(root, redraw=False)["retain_each"]
    legacy = {e.tags["record"]: [] for e in same}
    for example in same:
        legacy[example.tags["record"]].append(example.id.rpartition("/")[2])
    assert len({tuple(v) for v in legacy.values()}) == 1
    assert len(asked["00001"]) == 3


def test_the_never_taught_model_sees_no_fact(root):
    made = splits(root)
    facts = {(e.image.digest, e.target) for e in made["forget"]}
    assert not facts & {(e.image.digest, e.target) for e in made["retain"]}
    assert {e.image.digest for e in made["forget"]} & {e.image.digest for e in made["retain"]}  # neighbours stay
    assert {*made["forget"].ids, *made["retain"].ids} <= set(made["train"].ids)


def test_without_what_was_taught_the_pools_are_all(root):
    (root / SEEN).unlink()
    (root / UNSEEN).unlink()
    made = splits(root)
    assert len(made["train"]) == 12 and len(made["retain"]) == 6
    assert made["unseen"][0].target == made["forget"][0].tags["alternative"]


def test_the_released_loader_s_name_and_folder_are_found(root):
    (root / RECORDS).rename(root / "zsre_mend_eval.json")
    (root / "data").mkdir()
    (root / RETAIN).rename(root / "data" / "retain.json")
    assert len(splits(root)["forget"]) == 6


def test_images_named_by_place_in_the_list_are_found(root):
    records = read_records(root / RECORDS)
    assert Pictures(root, records).key == "id"
    for pattern in (*REPHRASED.values(), *NEIGHBOURS.values()):
        for record in records:  # ascending, so that no name is taken
            old = root / pattern.format(id=record.id, j=0)
            if old.is_file():
                old.rename(root / pattern.format(id=record.index, j=0))
    assert Pictures(root, records).key == "index"
    assert "image_hard" in splits(root)["forget"][5].tags
    assert "image_easy" not in splits(root, image_key="id")["forget"][5].tags


def test_missing_images_are_counted_and_never_replaced(root, caplog):
    (root / REPHRASED["hard"].format(id=2)).unlink()
    shutil.rmtree(root / "parap_images_medium")
    with caplog.at_level(logging.WARNING):
        made = splits(root)
    assert "paraphrase_images_hard 1" in caplog.text and "parap_images_medium 6" in caplog.text
    assert "image_hard" not in made["forget"][1].tags and "image_medium" not in made["forget"][0].tags
    assert "image_easy" in made["forget"][0].tags


@pytest.mark.parametrize("field", ["subject", "neigh_idx", "loc"])
def test_records_without_a_field_are_left_out_with_a_word(root, caplog, field):
    change(root, lambda entry: entry.pop(field))
    with caplog.at_level(logging.WARNING):
        made = splits(root)
    assert len(made["forget"]) == 5 and "1 of 6 records left out" in caplog.text


def test_a_subject_that_comes_twice_is_left_out(root):
    change(root, lambda entry: entry.update(src=f"{entry['subject']} and {entry['subject']}?"))
    assert len(splits(root)["forget"]) == 5


def test_a_missing_alternative_is_another_answer(root):
    change(root, lambda entry: entry.update(alt_ans=[]))
    answers = {entry["pred"] for entry in json.loads((root / RECORDS).read_text())}
    fact = splits(root)["forget"][0]
    assert fact.tags["alternative"] in answers - {fact.target}
    assert fact.tags["alternative"] == splits(root)["forget"][0].tags["alternative"]


BROKEN = {
    "not JSON": (lambda root: (root / RECORDS).write_text("[{"), "not JSON"),
    "not UTF-8": (lambda root: (root / RECORDS).write_bytes(b"[\xff\xfe]"), "not UTF-8"),
    "no list": (lambda root: (root / RECORDS).write_text("{}"), "not a list"),
    "empty list": (lambda root: (root / RECORDS).write_text("[]"), "empty list"),
    "no record": (lambda root: change(root, lambda e: [*e[:1], 3], at=None), "entry 1 is int"),
    "id is text": (lambda root: change(root, lambda e: e.update(id="1")), "id is '1'"),
    "no image_id": (lambda root: change(root, lambda e: e.pop("image_id")), "image_id is None"),
    "same id": (lambda root: change(root, lambda e: e.update(id=2)), "id 2 stands at entries 0 and 1"),
    "blank answer": (lambda root: change(root, lambda e: e.update(pred=" ")), "pred is ' '"),
    "question a list": (lambda root: change(root, lambda e: e.update(src=["a"])), "src is"),
    "loc without mark": (lambda root: change(root, lambda e: e.update(loc=["Why?"], loc_ans=["x"])), "must begin with"),
    "loc a text": (lambda root: change(root, lambda e: e.update(loc="nq question: why")), "list of texts"),
    "loc and answers": (lambda root: change(root, lambda e: e.update(loc_ans=["one"])), "2 loc questions and 1"),
    "neigh_idx too far": (lambda root: change(root, lambda e: e.update(neigh_idx=[9])), "neigh_idx 9 is no place"),
    "neigh_idx a number": (lambda root: change(root, lambda e: e.update(neigh_idx=7)), "list of one number"),
    "no subject at all": (
        lambda root: change(root, lambda es: [{**e, "subject": ""} for e in es], at=None), "none of its 6 records"
    ),
    "no records": (lambda root: (root / RECORDS).unlink(), "no UNLOK-VQA.json"),
    "no retain pool": (lambda root: (root / RETAIN).unlink(), "no retain.json"),
    "no COCO picture": (lambda root: (root / "train2017/000000001001.jpg").unlink(), "neither train2017 nor"),
    "no neighbour image": (lambda root: shutil.rmtree(root / "neigh_easy"), "nothing for split 'neighbour_image'"),
    "taught lines": (lambda root: (root / SEEN).write_text("no\n"), "not a JSON object"),
    "taught line lacks": (lambda root: (root / SEEN).write_text('{"image": "x"}\n'), "has no 'answer'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_data_is_named(root, name):
    how, told = BROKEN[name]
    how(root)
    with pytest.raises(UserError) as error:
        splits(root)
    assert told in str(error.value) and str(root) in str(error.value), error.value
    assert 1 <= len(str(error.value).splitlines()) <= 4


def test_too_many_draws_are_refused(root):
    with pytest.raises(UserError, match="draws: 7 retain questions"):
        splits(root, draws=7)


def test_pictures_in_val2017_are_found(root):
    (root / "val2017").mkdir()
    (root / "train2017/000000001001.jpg").rename(root / "val2017/000000001001.jpg")
    assert "val2017" in str(splits(root)["forget"][0].image.path)
