"""`mmunlearn fetch NAME --plan`: what, how large, licence; for data of every kind, models and judges."""

import copy

import pytest

from mmunlearn.cards import Card, card_files, read_card
from mmunlearn.cli import main
from mmunlearn.report.fetch_text import fetch_text, model_names
from mmunlearn.settings import build, merge, read_yaml


@pytest.mark.parametrize("name", sorted(card_files()))
def test_every_card_says_what_how_large_and_which_licence(name, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = read_card(name)
    assert 0 == main(["fetch", name, "--plan"])
    out = capsys.readouterr().out
    flat = " ".join(out.split())
    for part in (card.source.what, card.source.get, card.source.licence, "size:", "Nothing is downloaded"):
        assert " ".join(part.split()) in flat
    assert all(model in out for model in model_names(card)) and model_names(card)
    assert not list(tmp_path.iterdir())


def card(**changes) -> Card:
    content = copy.deepcopy(read_yaml(card_files()["mufac"]))
    return build(Card, merge(content, changes), "card")


HUB = {"kind": "hub", "repo": "owner/set", "revision": "abc", "bytes": 3 << 20}


def test_a_hub_data_set_has_its_command_and_size():
    text = fetch_text(card(source=HUB))
    assert "hf download owner/set --repo-type dataset --revision abc --local-dir DIR" in text
    assert "3.0 MiB" in text


@pytest.mark.parametrize(
    ("kind", "said"),
    [("drive", "open the link"), ("archive", "open the link"), ("folder", "size:     yours")],
)
def test_what_no_command_can_bring_is_said(kind, said):
    text = fetch_text(card(source={"kind": kind}))
    assert said in text and "hf download" not in text


def test_models_have_size_and_licence_or_their_page():
    weights = {"a/b": {"bytes": 5 << 30, "licence": "llama2", "from": "its page"}}
    known = card(
        editions={"full": {"model": {"name": "a/b"}, "weights": weights}},
        tables={read_card("mufac").table: {"model": {"name": "c/d"}}},
    )
    text = fetch_text(known)
    assert "a/b: 5.0 GiB; licence: llama2" in text
    assert "c/d: size and licence on its page, https://huggingface.co/c/d" in text
    assert "torchvision/resnet18: made here" in fetch_text(read_card("mufac"))


def test_who_grades_is_named():
    judge = {"name": "model_judge", "template": "safeeraser_harm", "backend": {"kind": "server", "model": "big"}}
    plans = [{"name": "harm", "split": "forget", "judge": judge}]
    assert "safeeraser_harm: server big" in fetch_text(card(evaluations=plans))
    plans[0]["judge"] = {"name": "model_judge", "template": "safeeraser_harm"}
    assert "nobody: give a backend" in fetch_text(card(evaluations=plans))
