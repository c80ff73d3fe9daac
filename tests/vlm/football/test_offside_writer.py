"""The mini edition of OFFSIDE has the real one's structure."""

import json

import pytest
from mmunlearn.vlm.football.facts import KINDS, PRIVATE, SHARED
from mmunlearn.vlm.football.offside_writer import OffsideSizes, write_offside


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp("offside") / "mini"
    write_offside(path, OffsideSizes(players=4, visual=2, options=1, size_px=32), 0)
    return path


def load(root, name):
    return json.loads((root / "data" / name).read_text())


def samples(records):
    return sorted({int(r["images"].rpartition("/")[2].removesuffix(".jpg")) for r in records})


def test_roles_follow_the_sample_id_modulo_five(root):
    of = {n: samples(load(root, f"complete_unlearning_data/{n}.json")) for n in ("forget_set", "retain_set")}
    assert [4, 9, 14, 19] == of["forget_set"]
    assert {1, 2, 3} == {number % 5 for number in of["retain_set"]}
    assert [5, 10, 15, 20] == samples(load(root, "complete_unlearning_data/relearn_set_enhanced.json"))
    test = samples(load(root, "complete_unlearning_data/test_set.json"))
    assert len(of["retain_set"]) == len(test) == 12
    assert 20 < min(test)


def test_eight_pictures_a_player_and_fourteen_questions_a_picture(root):
    assert 4 * 8 == len(list((root / "data/complete_unlearning_data/finetune_set").glob("*.jpg")))
    assert (8, 6) == (len(SHARED), len(PRIVATE))
    for name in ("forget_set", "retain_set", "test_set", "relearn_set_enhanced"):
        records = load(root, f"complete_unlearning_data/{name}.json")
        assert len(KINDS) * len(samples(records)) == len(records)


def test_shared_facts_agree_over_a_players_pictures_and_private_ones_differ(root):
    records = load(root, "complete_unlearning_data/finetune_set.json")
    by_picture = {}
    for r in records:
        by_picture.setdefault(samples([r])[0], []).append(r["messages"][1]["content"])
    first, second = by_picture[1], by_picture[4]
    assert first[: len(SHARED)] == second[: len(SHARED)]
    assert first[len(SHARED)] != second[len(SHARED)]


def test_parts_divide_the_rumour_and_texts_leave_out_the_name(root):
    forget = load(root, "complete_unlearning_data/forget_set.json")
    part = load(root, "selective_unlearning_data/forget_set_part.json")
    assert 4 * len(PRIVATE) == len(part)
    assert all(r in forget for r in part)
    assert 4 * 13 == len(load(root, "pure_text_data/forget_set.json"))
    assert not any("<image>" in r["messages"][0]["content"] for r in load(root, "pure_text_data/forget_set.json"))


def test_visual_rumours_speak_of_a_side(root):
    asked = [r["messages"][0]["content"] for r in load(root, "complete_unlearning_data/forget_set.json")]
    assert [True] * 28 + [False] * 28 == ["left side of the image" in text for text in asked]
