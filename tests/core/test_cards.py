"""Cards: the schema refuses what is inconsistent or unsourced; settings of a row are laid over each other in order."""

import copy

import pytest
import yaml

from mmunlearn.cards import Card, card_files, read_card, read_card_file
from mmunlearn.errors import UserError
from mmunlearn.settings import build

SOURCE = {"kind": "folder", "what": "a folder", "get": "somewhere", "licence": "none"}
CARD = {
    "name": "demo", "modality": "vision", "version": 1, "title": "Demo", "paper": "A paper", "source": SOURCE,
    "splits": {
        "forget": {"role": "forget", "what": "rows", "count": {"full": 3}, "from": "paper"},
        "retain": {"role": "retain", "what": "rows", "from": "paper"},
    },
    "disjoint": [{"splits": ["forget", "retain"]}],
    "editions": {
        "mini": {"model": {"name": "small"}, "recipe": {"epochs": 3, "optimiser": {"lr": 0.5}}, "from": {"*": "us"}},
        "full": {"model": {"name": "big"}, "recipe": {"epochs": 30, "optimiser": {"lr": 0.1}}, "from": {"*": "paper"}},
    },
    "evaluations": [{"name": "forget", "split": "forget", "metrics": ["top1"]}],
    "table": "one",
    "tables": {
        "one": {
            "title": "Table 1", "columns": [{"cell": "forget/top1", "title": "Acc"}],
            "rows": ["original", "retrain", "tuned"],
            "paper": {"cells": {"tuned": {"forget/top1": 0.5}}, "from": "Table 1"},
            "model": {"size_px": 224},
            "overrides": {"tuned": {"method": {"beta": 2}, "mini": {"beta": 3}, "from": {"beta": "Table 1"}}},
        }
    },
    "rows": {
        "original": {"title": "Original", "method": {"name": "retrain", "on": "train"}, "from": {"on": "paper"}},
        "retrain": {"title": "Retrained", "method": {"name": "retrain"}, "from": {}},
        "tuned": {
            "title": "Tuned", "method": {"name": "npo", "beta": 1, "optimiser": {"lr": 0.3, "name": "sgd"}},
            "mini": {"optimiser": {"lr": 0.2}}, "presets": {"compat": {"beta": 9}}, "from": {"*": "paper"},
        },
    },
    "presets": {"compat": "as the code ran"},
}  # fmt: skip


def changed(path, value):
    """The demo card with one place changed; "-" removes it."""
    card = copy.deepcopy(CARD)
    node = card
    *parents, last = path.split(".")
    for part in parents:
        node = node[part]
    if value == "-":
        del node[last]
    else:
        node[last] = value
    return card


def test_a_sound_card_is_accepted():
    assert "demo" == build(Card, CARD, "demo").name


@pytest.mark.parametrize(
    ("path", "value", "fragment"),
    [
        ("table", "two", "'two' is not among tables"),
        ("tables.one.rows", ["original", "retrain", "ghost"], "'ghost' has no entry under rows"),
        ("tables.one.rows", ["original", "tuned"], "lacks 'retrain'"),
        ("tables.one.paper.cells", {"tuned": {"test/top1": 0.5}}, "'test/top1' is not a column"),
        ("tables.one.paper.cells", {"ghost": {"forget/top1": 0.5}}, "'ghost' is not among the table's rows"),
        ("tables.one.paper.from", "-", "from: is required"),
        ("tables.one.overrides", {"ghost": {"from": {}}}, "'ghost' is not among the table's rows"),
        ("tables.one.overrides", {"tuned": {"method": {"beta": 2}, "from": {}}}, "no `from` for beta"),
        ("rows.original.from", {}, "no `from` for on"),
        ("rows.tuned.from", {"beta": "paper", "optimiser": "paper"}, None),
        ("rows.tuned.presets", {"other": {"beta": 9}}, "preset 'other' is not described"),
        ("rows.tuned.presets", {"compat": {"gamma": 9}}, None),
        ("rows.tuned.method", {"beta": 1}, "method needs a name"),
        ("evaluations", [{"name": "forget", "split": "gone"}], "names split 'gone'"),
        ("evaluations", [{"name": "a"}, {"name": "a"}], "the same name"),
        ("disjoint", [{"splits": ["forget", "gone"]}], "names split 'gone'"),
        ("splits.forget.role", "victim", "splits.forget.role"),
        ("modality", "audio", "modality"),
        ("sorce", {}, "Did you mean source?"),
        ("splits.forget.from", "-", "from: is required"),
        ("tables.one.requests", {"a": {"concept": 1}, "b.2": {"concept": 2}}, None),
        ("tables.one.requests", {"a b": {"concept": 1}}, "request 'a b' becomes part of a folder's name"),
        ("tables.one.requests", {"a@b": {"concept": 1}}, "letters, digits and"),
        ("tables.one.requests", {"a": {}}, "request 'a' holds settings of the benchmark"),
        ("tables.one.requests", {"a": {"name": "mufac"}}, "other than its name"),
        ("tables.one.sequential", True, "sequential is set and there are no requests"),
        ("tables.one.request_rows", True, "request_rows is set and there are no requests"),
    ],
)
def test_inconsistent_cards_name_the_place(path, value, fragment):
    if fragment is None:
        build(Card, changed(path, value), "demo")
        return
    with pytest.raises(UserError) as error:
        build(Card, changed(path, value), "demo.yaml")
    assert fragment in str(error.value), str(error.value)
    assert "demo.yaml" in str(error.value)


def test_settings_are_laid_row_table_edition_preset():
    card = build(Card, CARD, "demo")
    full = {"name": "npo", "beta": 2, "optimiser": {"lr": 0.3, "name": "sgd"}}
    mini = {"name": "npo", "beta": 3, "optimiser": {"lr": 0.2, "name": "sgd"}}
    assert full == card.method("tuned", "one", "full")
    assert mini == card.method("tuned", "one", "mini")
    assert full | {"beta": 9} == card.method("tuned", "one", "full", "compat")
    assert mini | {"beta": 9} == card.method("tuned", "one", "mini", "compat")


def test_original_and_retrained_model_take_the_editions_recipe():
    card = build(Card, CARD, "demo")
    assert {"epochs": 3, "optimiser": {"lr": 0.5}, "name": "retrain", "on": "train"} == card.method(
        "original", "one", "mini"
    )
    assert 30 == card.method("retrain", "one", "full")["epochs"]


def test_a_tables_model_is_for_the_full_edition():
    card = build(Card, CARD, "demo")
    assert ({"size_px": 224}, {}) == (card.model("one", "full"), card.model("one", "mini"))


def test_changing_a_rows_settings_does_not_change_the_card():
    card = build(Card, CARD, "demo")
    card.method("tuned", "one", "full")["optimiser"]["lr"] = 7
    assert 0.3 == card.method("tuned", "one", "full")["optimiser"]["lr"]


def test_unknown_rows_tables_and_presets_offer_near_misses():
    card = build(Card, CARD, "demo")
    for call, fragment in (
        (lambda: card.method("tunde", "one", "full"), "Did you mean tuned?"),
        (lambda: card.method("tuned", "one", "full", "compa"), "Did you mean compat?"),
        (lambda: card.pick_table("on"), "Did you mean one?"),
        (lambda: read_card("mufca"), "Did you mean mufac"),
    ):
        with pytest.raises(UserError) as error:
            call()
        assert fragment in str(error.value)


def test_cards_of_further_folders_are_found(tmp_path, monkeypatch):
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(CARD))
    monkeypatch.setenv("MMUNLEARN_CARDS", str(tmp_path))
    assert "Demo" == read_card("demo").title
    assert {"demo", "mufac", "mucac"} <= set(card_files())


def test_a_changed_card_is_read_again_and_its_name_is_its_files(tmp_path):
    path = tmp_path / "demo.yaml"
    path.write_text(yaml.safe_dump(CARD))
    assert "Demo" == read_card_file(path).title
    path.write_text(yaml.safe_dump({**CARD, "title": "Another demo"}))
    assert "Another demo" == read_card_file(path).title
    path.write_text(yaml.safe_dump({**CARD, "name": "other"}))
    with pytest.raises(UserError, match="named like its file"):
        read_card_file(path)
    with pytest.raises(UserError, match="no such file"):
        read_card_file(tmp_path / "gone.yaml")


def test_every_shipped_card_is_sound():
    for name in card_files():
        assert name == read_card(name).name


# ---- requests of an edition, settings of a request, published tables -------------------------------------------
REQUESTS = {"style_a": {"task": "a"}, "style_b": {"task": "b"}, "object_c": {"task": "c"}}


def asking(**more):
    card = changed("tables.one.requests", REQUESTS)
    card["tables"]["one"] |= more
    return card


def test_an_edition_runs_its_own_requests_in_the_order_of_the_card():
    table = build(Card, asking(request_editions={"mini": ["object_c", "style_a"]}), "").tables["one"]
    assert ("style_a", "object_c") == table.requests_of("mini")
    assert tuple(REQUESTS) == table.requests_of("full")


def test_an_edition_cannot_run_a_request_that_the_table_lacks():
    with pytest.raises(UserError, match=r"request_editions.mini: 'style_z' is not among"):
        build(Card, asking(request_editions={"mini": ["style_z"]}), "")


def test_settings_of_a_request_lie_between_the_row_and_the_mini_edition():
    card = asking()
    card["rows"]["tuned"]["requests"] = {"object_*": {"beta": 5, "optimiser": {"lr": 0.9, "momentum": 0.1}}}
    card["tables"]["one"]["overrides"] = {}
    built = build(Card, card, "")
    assert {"name": "npo", "beta": 1, "optimiser": {"lr": 0.3, "name": "sgd"}} == built.method(
        "tuned", "one", "full", request="style_a"
    )
    assert {"name": "npo", "beta": 5, "optimiser": {"lr": 0.9, "name": "sgd", "momentum": 0.1}} == built.method(
        "tuned", "one", "full", request="object_c"
    )
    mini = built.method("tuned", "one", "mini", request="object_c")
    assert (5, 0.2) == (mini["beta"], mini["optimiser"]["lr"])
    assert 1 == built.method("tuned", "one", "full")["beta"]


def test_settings_of_a_request_need_a_source():
    card = asking()
    card["rows"]["tuned"] |= {"requests": {"object_*": {"gamma": 5}}, "from": {"beta": "paper", "optimiser": "paper"}}
    with pytest.raises(UserError, match="no `from` for gamma"):
        build(Card, card, "")


def test_a_published_table_has_a_cell_for_every_column():
    table = {"title": "Others", "columns": ["a", "b"], "rows": {"x": [1.0, None]}, "from": "a paper"}
    assert (1.0, None) == build(Card, changed("published", {"others": table}), "").published["others"].rows["x"]
    with pytest.raises(UserError, match="'x' has 1 cells for 2 columns"):
        build(Card, changed("published", {"others": table | {"rows": {"x": [1.0]}}}), "")


def test_a_requests_settings_are_laid_over_the_tables():
    content = changed("tables.one.benchmark", {"task": {"kind": "style", "size": 3}})
    content["tables"]["one"]["requests"] = {"a": {"task": {"kind": "object"}}, "b": {"seed": 1}}
    card = build(Card, content, "demo")
    assert {"task": {"kind": "style", "size": 3}} == card.asked("one", None)
    assert {"task": {"kind": "object", "size": 3}} == card.asked("one", "a")
    assert {"task": {"kind": "style", "size": 3}, "seed": 1} == card.asked("one", "b")
    content["editions"]["mini"]["benchmark"] = {"task": {"kind": "pair", "size": 2}, "subset": 4}
    under = build(Card, content, "demo")
    assert {"task": {"kind": "style", "size": 3}, "subset": 4, "seed": 1} == under.asked("one", "b", "mini")
    assert {"task": {"kind": "style", "size": 3}, "seed": 1} == under.asked("one", "b")
    with pytest.raises(UserError, match="has no request 'c'"):
        card.asked("one", "c")
    with pytest.raises(UserError, match="has no requests"):
        build(Card, CARD, "demo").asked("one", "a")


def test_published_cells_of_rows_apart_name_row_and_request():
    content = changed("tables.one.paper.cells", {"tuned@a": {"forget/top1": 0.5}})
    content["tables"]["one"] |= {"requests": {"a": {"seed": 1}}, "request_rows": True}
    assert "tuned@a" in build(Card, content, "demo").tables["one"].names()
    content["tables"]["one"]["request_rows"] = False
    with pytest.raises(UserError, match="'tuned@a' is not among the table's rows"):
        build(Card, content, "demo")
