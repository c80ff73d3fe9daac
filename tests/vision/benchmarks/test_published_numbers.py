"""The published numbers in the cards, by the arithmetic that must hold between them."""

import pytest

from mmunlearn.cards import read_card

README_TABLES = [("mufac", "main")] + [("mucac", table) for table in ("multi_label", "gender", "smiling", "young")]
README_ROWS = {
    "original", "retrain", "finetune", "cf_3", "neggrad", "unsir_1", "unsir_2", "scrub", "adv_neggrad",
}  # fmt: skip
NOMUS = [(name, table, row) for name, table in README_TABLES for row in sorted(README_ROWS)]
# NoMUS does not follow from the printed accuracy and F in these cells; they stand as published.
LOTUS = [
    (table, row)
    for table in ("clean_resnet18", "clean_vit")
    for row in read_card("mufac").tables[table].paper.cells
    if row != "original"
]


@pytest.mark.parametrize(("name", "table"), README_TABLES)
def test_every_row_of_the_readme_is_there(name, table):
    plan = read_card(name).tables[table]
    assert README_ROWS == set(plan.paper.cells)
    per_row = 4 if name == "mufac" else 3
    assert {per_row} == {len(cells) for cells in plan.paper.cells.values()}


@pytest.mark.parametrize(("name", "table", "row"), NOMUS)
def test_published_nomus_follows_from_accuracy_and_forgetting_score(name, table, row):
    cells = read_card(name).tables[table].paper.cells[row]
    expected = 0.5 * (cells["test/top1"] + 1 - 2 * cells["forget/forgetting_score"])
    assert abs(expected - cells["all/nomus"]) <= 1.01e-4


@pytest.mark.parametrize(("table", "row"), LOTUS)
def test_published_average_gap_follows_from_the_four_columns(table, row):
    rows = read_card("mufac").tables[table].paper.cells
    names = ("lotus/mia", "forget/top1", "retain/top1", "test/top1")
    gap = sum(abs(rows[row][n] - rows["retrain"][n]) for n in names) / 4
    assert abs(gap - rows[row]["lotus/average_gap"]) < 5.1e-3


@pytest.mark.parametrize("name", ["mufac", "mucac"])
def test_collapsed_published_rows_carry_a_footnote(name):
    """A published accuracy below chance must not stand without a word."""
    for table in read_card(name).tables.values():
        if name == "mucac":
            for row, cells in table.paper.cells.items():
                if cells["test/top1"] < 0.5 or (row == "scrub" and cells["forget/forgetting_score"] > 0.4):
                    assert row in table.paper.footnotes, (table.title, row)


@pytest.mark.parametrize("name", ["mufac", "mucac"])
def test_rows_that_the_issue_asks_for_are_there(name):
    card = read_card(name)
    rows = card.tables[card.table].rows
    assert README_ROWS <= set(rows)
    assert 10 <= len(set(rows) - README_ROWS)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("finetune", {"epochs": 2, "batch_size": 64, "norm": "frozen"}),
        ("cf_3", {"epochs": 2, "k": 2, "norm": "train", "statistics": "all"}),
        ("neggrad", {"epochs": 2, "pace": "retain", "norm": "train", "stop_at_chance": False}),
        ("unsir_1", {"epochs": 2, "norm": "frozen", "stage": "impair", "noise_steps": 5, "noise_lr": 0.01}),
        ("scrub", {"epochs": 2, "temperature": 4.0, "alpha": 1.0, "gamma": 1.0, "order": "retain_first"}),
    ],
)
def test_the_compat_preset_is_the_notebooks_recipe(row, expected):
    settings = read_card("mufac").method(row, "main", "full", "paper_compat")
    slow = {"name": "sgd", "lr": 0.001, "momentum": 0.0, "weight_decay": 0.0}
    assert expected | {"optimiser": slow} == {key: settings[key] for key in (*expected, "optimiser")}


def test_the_gold_recipe_of_the_notebooks_differs_only_in_the_compat_preset():
    card = read_card("mucac")
    gold = {preset: card.method("retrain", "smiling", "full", preset) for preset in (None, "fixed", "paper_compat")}
    original = card.method("original", "smiling", "full")
    assert gold[None] == gold["fixed"] == original | {"on": "retain"}
    assert {"name": "sgd", "lr": 0.001, "momentum": 0.0, "weight_decay": 0.0} == gold["paper_compat"]["optimiser"]
    assert (8, 7) == tuple(
        card.method(r, "multi_label", "full", "paper_compat")["epochs"] for r in ("original", "retrain")
    )
