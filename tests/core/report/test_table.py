"""The table's numbers against hand-computed ones, its flags, its schema and the nearest method."""

import json
import math

import pytest

from mmunlearn.errors import UserError
from mmunlearn.report.table import build_table, gaps, nearest, row_of, sentence


def cell_of(table: dict, row: str, cell: str) -> dict:
    return row_of(table, row)["cells"][cell]


def test_value_and_spread_over_seeds_are_hand_computed(card, run_result) -> None:
    runs = [run_result("scrub", seed, test__top1=value) for seed, value in enumerate((0.50, 0.56, 0.59))]
    cell = cell_of(build_table(runs, card), "scrub", "test/top1")
    assert 0.55 == pytest.approx(cell["value"], abs=1e-12)
    # deviations -.05 .01 .04: squares .0025 .0001 .0016 sum .0042, over n - 1 = 2: .0021
    assert math.sqrt(0.0021) == pytest.approx(cell["std"], abs=1e-12)
    assert 40 == cell["n"]


def test_one_seed_has_no_spread(card, run_result) -> None:
    assert cell_of(build_table([run_result("scrub", test__top1=0.5)], card), "scrub", "test/top1")["std"] is None


def test_standard_error_is_the_root_mean_square_and_unscored_the_sum(card, run_result) -> None:
    runs = [run_result("scrub", seed, test__top1=0.5) for seed in (0, 1)]
    runs[0]["cells"]["test/top1"] |= {"stderr": 0.03, "unscored": 2, "n": 38}
    runs[1]["cells"]["test/top1"] |= {"stderr": 0.04, "unscored": 1, "n": 39}
    cell = cell_of(build_table(runs, card), "scrub", "test/top1")
    assert math.sqrt((0.0009 + 0.0016) / 2) == pytest.approx(cell["stderr"], abs=1e-12)
    assert (3, 38) == (cell["unscored"], cell["n"])


def test_seed_without_a_value_is_left_out_of_the_mean(card, run_result) -> None:
    runs = [run_result("scrub", 0, test__top1=0.5), run_result("scrub", 1, test__top1=None)]
    cell = cell_of(build_table(runs, card), "scrub", "test/top1")
    assert (0.5, None) == (cell["value"], cell["std"])


def test_cell_without_any_value_is_none(card, run_result) -> None:
    cell = cell_of(build_table([run_result("scrub", test__top1=None)], card), "scrub", "test/top1")
    assert (None, None) == (cell["value"], cell["flag"])


def test_schema_is_exactly_the_public_one(card, run_result) -> None:
    table = build_table([run_result("scrub", test__top1=0.5, forget__mia=0.6)], card)
    assert {"schema", "benchmark", "edition", "card_version", "table", "rows"} == set(table)
    assert (1, "sample", "mini", 3, "main") == tuple(
        table[key] for key in ("schema", "benchmark", "edition", "card_version", "table")
    )
    (row,) = table["rows"]
    assert {"row", "method", "seeds", "cells", "cost"} == set(row)
    assert [0] == row["seeds"]
    assert {"seconds", "peak_bytes", "stored_bytes"} == set(row["cost"])
    for cell in row["cells"].values():
        assert {"value", "std", "n", "stderr", "unscored", "paper", "flag"} == set(cell)
    assert table == json.loads(json.dumps(table, allow_nan=False))


def test_cost_is_the_mean_over_seeds(card, run_result) -> None:
    table = build_table([run_result("scrub", seed, test__top1=0.5) for seed in (0, 1)], card)
    assert {"seconds": 10.5, "peak_bytes": 2.0**28, "stored_bytes": 2.0**20} == row_of(table, "scrub")["cost"]


def test_rows_stand_in_the_cards_order_and_unknown_ones_at_the_end(card, run_result) -> None:
    runs = [run_result(row, test__top1=0.5) for row in ("zeta", "scrub", "alpha", "retrain", "original")]
    assert ["original", "retrain", "scrub", "alpha", "zeta"] == [row["row"] for row in build_table(runs, card)["rows"]]


@pytest.mark.parametrize(
    ("value", "flag"),
    [(0.5984, None), (0.6083, None), (0.6085, "beyond_tolerance"), (0.5883, "beyond_tolerance")],
)
def test_full_edition_is_compared_with_the_paper(card, run_result, value: float, flag: str | None) -> None:
    cell = cell_of(build_table([run_result("scrub", edition="full", test__top1=value)], card), "scrub", "test/top1")
    assert (0.5984, flag) == (cell["paper"], cell["flag"])


def test_mini_edition_is_never_compared_with_the_paper(card, run_result) -> None:
    cell = cell_of(build_table([run_result("scrub", test__top1=0.1)], card), "scrub", "test/top1")
    assert (0.5984, None) == (cell["paper"], cell["flag"])


def test_published_cell_that_was_not_measured_stays_in_the_table(card, run_result) -> None:
    cell = cell_of(build_table([run_result("scrub", test__top1=0.5)], card), "scrub", "forget/mia")
    assert (None, 0, 0.6415) == (cell["value"], cell["n"], cell["paper"])


def test_flag_of_one_seed_flags_the_row(card, run_result) -> None:
    runs = [run_result("scrub", seed, edition="full", test__top1=0.1) for seed in (0, 1)]
    runs[1]["flags"] = ["collapse"]
    assert "beyond_tolerance,collapse" == cell_of(build_table(runs, card), "scrub", "test/top1")["flag"]


def test_original_is_no_noop_but_may_have_collapsed(card, run_result) -> None:
    run = run_result("original", test__top1=0.1)
    run["flags"] = ["noop", "collapse"]
    assert "collapse" == cell_of(build_table([run], card), "original", "test/top1")["flag"]


@pytest.mark.parametrize("field", ["benchmark", "edition", "card_version", "table"])
def test_runs_of_two_tables_are_refused(card, run_result, field: str) -> None:
    runs = [run_result("scrub", test__top1=0.5), run_result("retrain", test__top1=0.5)]
    runs[1][field] = "other"
    with pytest.raises(UserError, match=f"differ in {field}"):
        build_table(runs, card)


def test_two_runs_of_one_seed_are_refused(card, run_result) -> None:
    with pytest.raises(UserError, match="'scrub' has two runs of seed 0"):
        build_table([run_result("scrub", test__top1=0.5)] * 2, card)


def test_row_of_two_methods_is_refused(card, run_result) -> None:
    runs = [run_result("scrub", seed, test__top1=0.5) for seed in (0, 1)]
    runs[1]["method"] = "npo"
    with pytest.raises(UserError, match="'scrub' has runs of scrub and of npo"):
        build_table(runs, card)


def test_no_runs_are_refused(card) -> None:
    with pytest.raises(UserError, match="No finished run"):
        build_table([], card)


def test_table_without_a_card_sorts_its_rows_after_the_anchors(run_result) -> None:
    runs = [run_result(row, test__top1=0.5) for row in ("b", "retrain", "a", "original")]
    assert ["original", "retrain", "a", "b"] == [row["row"] for row in build_table(runs)["rows"]]


# ---- the nearest method ---------------------------------------------------------------------------------------------
def sample_runs(run_result) -> list[dict]:
    return [
        run_result("original", test__top1=0.60, forget__top1=1.00, forget__mia=0.90, all__nomus=0.5),
        run_result("retrain", test__top1=0.50, forget__top1=0.52, forget__mia=0.50, all__nomus=0.9),
        run_result("scrub", test__top1=0.56, forget__top1=0.70, forget__mia=0.62, all__nomus=0.1),
        run_result("finetune", test__top1=0.50, forget__top1=0.50, forget__mia=0.51, all__nomus=0.9),
        run_result("neg_grad", test__top1=0.53, forget__top1=0.55, forget__mia=0.47, all__nomus=0.2),
    ]


def test_gap_is_the_mean_absolute_difference_over_the_four_cells(card, run_result) -> None:
    found = gaps(build_table(sample_runs(run_result), card))
    assert (0.06 + 0.18 + 0.12) / 3 == pytest.approx(found["scrub"], abs=1e-12)
    assert (0.10 + 0.48 + 0.40) / 3 == pytest.approx(found["original"], abs=1e-12)
    assert "retrain" not in found


def test_nearest_names_the_smallest_gap(card, run_result) -> None:
    name, gap = nearest(build_table(sample_runs(run_result), card))
    assert "finetune" == name
    assert 0.01 == pytest.approx(gap, abs=1e-12)


@pytest.mark.parametrize("flag", ["noop", "collapse"])
def test_nearest_leaves_out_noop_and_collapsed_rows(card, run_result, flag: str) -> None:
    runs = sample_runs(run_result)
    runs[3]["flags"] = [flag]
    assert "neg_grad" == nearest(build_table(runs, card))[0]


def test_retain_accuracy_counts_where_it_is_measured(card, run_result) -> None:
    runs = sample_runs(run_result)
    for run, value in zip(runs, (1.0, 1.0, 1.0, 0.2, 1.0), strict=True):
        run["cells"]["retain/top1"] = {"value": value, "n": 40, "stderr": None, "unscored": 0, "flag": None}
    name, gap = nearest(build_table(runs, card))
    assert "neg_grad" == name
    assert (0.03 + 0.03 + 0.0 + 0.03) / 4 == pytest.approx(gap, abs=1e-12)


def test_row_that_lacks_a_cell_is_not_compared(card, run_result) -> None:
    runs = sample_runs(run_result)
    del runs[3]["cells"]["forget/mia"]
    assert "neg_grad" == nearest(build_table(runs, card))[0]


def test_other_modalities_are_compared_by_all_rates(run_result) -> None:
    runs = [
        run_result("retrain", forget__ape=0.2, all__fluency=3.0),
        run_result("a", forget__ape=0.5, all__fluency=3.0),
        run_result("b", forget__ape=0.3, all__fluency=9.0),
    ]
    name, gap = nearest(build_table(runs))
    assert ("b", pytest.approx(0.1)) == (name, gap)


def test_without_a_retrained_model_nothing_is_nearest(card, run_result) -> None:
    table = build_table([run for run in sample_runs(run_result) if run["row"] != "retrain"], card)
    assert nearest(table) is None
    assert sentence(table).startswith("No method can be compared")


def test_sentence_names_method_gap_cells_and_the_originals_gap(card, run_result) -> None:
    text = sentence(build_table(sample_runs(run_result), card))
    expected = (
        "Nearest to the retrained model: finetune, mean absolute gap 0.010 over test/top1, forget/top1, forget/mia"
    )
    assert f"{expected}; the original model's gap is 0.327." == text


# ---- requests ------------------------------------------------------------------------------------------------------
def asked(run_result, row, seed, request, **cells):
    return run_result(row, seed, **cells) | ({"request": request} if request else {})


@pytest.fixture
def asking(card):
    """The sample card with three requests; `asking(request_rows=True)` keeps them apart."""

    def make(**more):
        table = card.tables["main"].model_copy(update={"requests": {n: {"n": n} for n in ("b", "a", "c")}, **more})
        return card.model_copy(update={"tables": {"main": table}})

    return make


def test_requests_are_averaged_in_each_seed_and_then_over_seeds(asking, run_result) -> None:
    values = {("a", 0): 0.2, ("b", 0): 0.4, ("a", 1): 0.5, ("b", 1): 0.9}
    runs = [asked(run_result, "scrub", seed, name, test__top1=value) for (name, seed), value in values.items()]
    runs[0]["cells"]["test/top1"] |= {"n": 30, "stderr": 0.05, "unscored": 2}
    row = row_of(build_table(runs, asking()), "scrub")
    cell = row["cells"]["test/top1"]
    assert 0.5 == pytest.approx(cell["value"], abs=1e-12)  # seeds: 0.3 and 0.7
    assert math.sqrt(2 * 0.04) == pytest.approx(cell["std"], abs=1e-12)
    assert (30, 2) == (cell["n"], cell["unscored"])
    assert math.sqrt((0.0025 + 3 * 0.0009) / 4) == pytest.approx(cell["stderr"], abs=1e-12)
    assert [0, 1] == row["seeds"]
    assert ["b", "a"] == list(row["requests"])  # in the card's order
    own = row["requests"]["a"]
    assert [0, 1] == own["seeds"] and 0.35 == pytest.approx(own["cells"]["test/top1"]["value"], abs=1e-12)


def test_a_cell_is_the_mean_over_the_requests_that_have_it(asking, run_result) -> None:
    runs = [
        asked(run_result, "scrub", 0, "a", test__top1=0.2, forget__mia=0.6),
        asked(run_result, "scrub", 0, "b", test__top1=0.4),
        asked(run_result, "scrub", 0, "c", test__top1=None),
    ]
    runs[2]["cells"]["test/top1"]["n"] = 0  # measured on nothing
    cells = row_of(build_table(runs, asking()), "scrub")["cells"]
    assert (0.3, 40, 0.6) == (
        pytest.approx(cells["test/top1"]["value"]),
        cells["test/top1"]["n"],
        cells["forget/mia"]["value"],
    )


def test_the_start_of_the_original_says_method_and_cost_and_no_figures(asking, run_result) -> None:
    runs = [
        asked(run_result, "original", 0, "", test__top1=0.9),
        asked(run_result, "original", 0, "a", test__top1=0.6) | {"method": "as_given", "cost": {"seconds": 0.1}},
    ]
    row = row_of(build_table(runs, asking()), "original")
    assert (0.6, "retrain", 10.0) == (row["cells"]["test/top1"]["value"], row["method"], row["cost"]["seconds"])
    assert ["a"] == list(row["requests"])


def test_only_rows_with_requests_have_the_new_key(asking, run_result) -> None:
    runs = [asked(run_result, "scrub", 0, "a", test__top1=0.6), run_result("finetune", test__top1=0.6)]
    table = build_table(runs, asking())
    assert {"row", "method", "seeds", "cells", "cost", "requests"} == set(row_of(table, "scrub"))
    assert {"row", "method", "seeds", "cells", "cost"} == set(row_of(table, "finetune"))
    cell = row_of(table, "scrub")["requests"]["a"]["cells"]["test/top1"]
    assert {"value", "std", "n", "stderr", "unscored", "flag"} == set(cell)


def test_rows_apart_are_compared_with_the_retrained_model_of_their_request(asking, run_result) -> None:
    values = {"original": (0.9, 0.9), "retrain": (0.1, 0.5), "scrub": (0.2, 0.9), "finetune": (0.5, 0.5)}
    runs = [
        asked(run_result, row, 0, name, test__top1=value)
        for row, pair in values.items()
        for name, value in zip("ab", pair, strict=True)
    ]
    table = build_table(runs, asking(request_rows=True))
    assert [
        "original", "original@b", "original@a", "retrain", "retrain@b", "retrain@a", "finetune@b", "finetune@a",
        "scrub@b", "scrub@a",
    ] == [row["row"] for row in table["rows"]]  # fmt: skip
    found = gaps(table)
    assert {"finetune@a": 0.4, "finetune@b": 0.0, "scrub@a": 0.1, "scrub@b": 0.4} == {
        name: pytest.approx(gap) for name, gap in found.items() if "original" not in name
    }
    assert ("finetune@b", 0.0) == nearest(table)
    assert 0.8 == pytest.approx(found["original@a"]) and 0.6 == pytest.approx(found["original"])


def test_a_request_may_run_another_method_but_the_seeds_of_one_request_may_not(asking, run_result) -> None:
    first = asked(run_result, "scrub", 0, "a", test__top1=0.2) | {"method": "scrub"}
    later = asked(run_result, "scrub", 0, "b", test__top1=0.4) | {"method": "finetune"}
    row = row_of(build_table([first, later], asking()), "scrub")
    assert ("scrub", {"a", "b"}) == (row["method"], set(row["requests"]))
    with pytest.raises(UserError, match="row 'scrub', request 'a' has runs of scrub and of finetune"):
        build_table([first, later | {"request": "a", "seed": 1}], asking())


def test_two_runs_of_a_request_and_seed_are_refused(asking, run_result) -> None:
    runs = [asked(run_result, "scrub", 0, "a", test__top1=0.6) for _ in range(2)]
    with pytest.raises(UserError, match="request 'a' has two runs of seed 0"):
        build_table(runs, asking())


def test_anchors_may_equal_the_original_on_a_request_too(asking, run_result) -> None:
    runs = [asked(run_result, row, 0, "a", test__top1=0.6) | {"flags": ["noop"]} for row in ("original", "scrub")]
    for card in (asking(), asking(request_rows=True)):
        rows = {row["row"]: row for row in build_table(runs, card)["rows"]}
        flags = {name: row["cells"]["test/top1"]["flag"] for name, row in rows.items()}
        assert all((flag == "noop") == name.startswith("scrub") for name, flag in flags.items())
