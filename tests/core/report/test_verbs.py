"""The verbs report and show on the sample card, and the README's generated tables."""

import csv
import io
import json
from pathlib import Path

import pytest

from mmunlearn.cli import main
from mmunlearn.errors import UserError
from mmunlearn.report.card_text import card_text
from mmunlearn.report.readme import BEGIN, END, block, updated

ROOT = Path(__file__).parent.parent.parent.parent


def test_report_prints_markdown(out: Path, cards_folder: Path, capsys) -> None:
    assert 0 == main(["report", str(out)])
    text = capsys.readouterr().out
    assert "### Sample results" in text
    assert "Nearest to the retrained model: adv_neg_grad" in text


def test_report_as_json_and_csv_can_be_read_again(out: Path, cards_folder: Path, capsys) -> None:
    assert 0 == main(["report", str(out), "--format", "json"])
    table = json.loads(capsys.readouterr().out)
    assert 6 == len(table["rows"])
    assert 0 == main(["report", str(out), "--format", "csv"])
    assert 18 == len(list(csv.DictReader(io.StringIO(capsys.readouterr().out))))


def test_report_writes_a_file_and_says_where(out: Path, cards_folder: Path, capsys, tmp_path: Path) -> None:
    target = tmp_path / "new" / "report.html"
    assert 0 == main(["report", str(out), "--format", "html", "--no-pictures", "--out", str(target)])
    assert str(target) == capsys.readouterr().out.strip()
    assert target.read_text().startswith("<!doctype html>")


def test_page_is_made_without_pictures_where_the_data_is_gone(out: Path, cards_folder: Path, capsys, tmp_path) -> None:
    target = tmp_path / "report.html"
    assert 0 == main(["report", str(out), "--format", "html", "--out", str(target)])
    assert "The report is without pictures: benchmark 'sample' is not known" in capsys.readouterr().err
    assert "<h2>Pictures</h2>" not in target.read_text()


def test_unknown_format_gets_a_near_miss(out: Path, capsys) -> None:
    assert 2 == main(["report", str(out), "--format", "htm"])
    assert "Did you mean html" in capsys.readouterr().err


def test_report_of_an_unknown_benchmark_is_refused(out: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("MMUNLEARN_CARDS", "")
    assert 2 == main(["report", str(out)])
    assert "benchmark 'sample' has no card" in capsys.readouterr().err


def test_show_says_the_card_in_words(cards_folder: Path, capsys) -> None:
    assert 0 == main(["show", "sample"])
    text = capsys.readouterr().out
    for part in ("A sample benchmark", "CC0", "the forget pictures: 40 (original)", "scrub: SCRUB, method scrub"):
        assert part in text
    (row,) = [line for line in text.splitlines() if line.startswith("  scrub  ")]
    assert ["scrub", "59.8", "64.1", "–"] == row.split()


def test_show_of_one_table_leaves_the_others_out(card) -> None:
    two = card.model_copy(update={"tables": {**card.tables, "other": card.tables["main"]}})
    assert 2 == card_text(two).count("\nTable ")
    assert 1 == card_text(two, "other").count("\nTable ")


def test_show_of_a_method_lists_settings_with_defaults(capsys) -> None:
    assert 0 == main(["show", "grad_diff"])
    lines = capsys.readouterr().out.splitlines()
    assert ["beta", "float", "1.0"] in [line.split() for line in lines]
    assert ["optimiser.lr", "float", "0.001"] in [line.split() for line in lines]


def test_show_of_an_unknown_name_gets_a_near_miss(capsys) -> None:
    assert 2 == main(["show", "grad_dif"])
    assert "'grad_dif' is not known. Did you mean grad_diff" in capsys.readouterr().err


def test_show_of_an_unknown_table_gets_a_near_miss(cards_folder: Path, capsys) -> None:
    assert 2 == main(["show", "sample", "--table", "mian"])
    assert "sample has no table 'mian'. Did you mean main?" in capsys.readouterr().err


# ---- README ---------------------------------------------------------------------------------------------------------
def test_generated_blocks_are_replaced_and_the_rest_stays(cards_folder: Path) -> None:
    begin, end = BEGIN.format(name="benchmarks"), END.format(name="benchmarks")
    text = f"before\n{begin}\nstale rows\n{end}\nafter\n"
    new = updated(text)
    assert new.startswith(f"before\n{begin}\n| name |")
    assert new.endswith(f"{end}\nafter\n")
    assert "| `sample` | vision | A sample benchmark | main | 6 | CC0 |" in new
    assert "stale rows" not in new
    assert new == updated(new)


def test_block_without_an_end_is_refused() -> None:
    with pytest.raises(UserError, match="has no"):
        updated(BEGIN.format(name="methods"))


def test_methods_block_names_every_method_once(capsys) -> None:
    assert 0 == main(["list", "methods", "--json"])
    names = [entry["name"] for entry in json.loads(capsys.readouterr().out)["methods"]]
    lines = block("methods").splitlines()[2:]
    assert [f"`{name}`" for name in names] == [line.split(" | ")[0].removeprefix("| ") for line in lines]


def test_readme_has_not_drifted_from_the_components() -> None:
    files = [path for path in (ROOT / "README.md", ROOT / "docs" / "index.md") if path.is_file()]
    drifted = [path.name for path in files if updated(path.read_text()) != path.read_text()]
    assert [] == drifted, "run: python -m mmunlearn.report.readme"
