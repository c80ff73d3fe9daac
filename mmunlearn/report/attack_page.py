"""The page of a suite of attacks on one or several runs: leaks, one table of all, the budget figure, what was found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmunlearn import __version__
from mmunlearn.atomic import write_bytes, write_text
from mmunlearn.records import read_rows
from mmunlearn.report.attack_figure import budget_figure
from mmunlearn.report.attack_summary import COLUMNS, Results, comparison, leaking, lines
from mmunlearn.report.page import TEMPLATES

SHOWN = 3  # goals of an attack whose candidates are printed
SIDE_PX = 208  # of pictures, twice the size at which they are shown
TEXT = 300  # characters of a text that is shown


@dataclass(frozen=True)
class Found:
    """A candidate that succeeded: what was asked, what came of it. picture: a data URL, or ""."""

    goal: str
    origin: str
    prompt: str
    answer: str
    picture: str = ""


def write_attack_report(
    out: Path, found: Mapping[str, Sequence[Results]], places: Mapping[str, Path]
) -> tuple[Path, Path | None]:
    """Write attacks.html (and attacks.png where an attack has a curve) into `out`; gives both paths.

    found: results by run; places: the runs' folders.
    """
    page, figure = out / "attacks.html", out / "attacks.png"
    picture = budget_figure(found, "png")
    if picture is not None:
        write_bytes(figure, picture)
    write_text(page, attack_page(found, places))
    return page, figure if picture is not None else None


def attack_page(found: Mapping[str, Sequence[Results]], places: Mapping[str, Path]) -> str:
    """The page as HTML text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    curve = budget_figure(found)
    titles, rows = comparison(found)
    sides = [results["control"]["run"] for own in found.values() for results in own if "control" in results]
    return environment.get_template("attacks.html.j2").render(
        runs=list(found), control=sides[0] if sides else "", titles=titles, rows=rows, columns=COLUMNS,
        tables={run: [line.figures for line in lines(own)] for run, own in found.items()},
        leaks=sorted({sentence for own in found.values() for sentence in leaking(own)}),
        figure=curve.decode() if curve else "", version=__version__,
        candidates={run: shown for run, own in found.items() if (shown := _candidates(own, places[run]))},
        judges=_judges(found),
    )  # fmt: skip


def _judges(found: Mapping[str, Sequence[Results]]) -> list[str]:
    """What decides success, as the results say it."""
    told = [
        f"goals {results['goals']}, judge {json.dumps(results['judge'], sort_keys=True)}"
        for own in found.values() for results in own if results.get("judge")
    ]  # fmt: skip
    return list(dict.fromkeys(told))


def _candidates(own: Sequence[Results], place: Path) -> dict[str, list[Found]]:
    """Successful candidates of each attack on goals, the first goals by id."""
    shown = {}
    for results in own:
        folder = place / "attacks" / results["attack"]
        made = [found for row in read_rows(folder / "goals") if (found := _best(row, folder)) is not None]
        if made:
            shown[results["attack"]] = made[:SHOWN]
    return shown


def _best(row: Mapping[str, Any], folder: Path) -> Found | None:
    won = [one for one in row["tries"] if one["verdict"]["value"] is not None and one["verdict"]["value"] >= 0.5]
    if not won or (row["clean"]["value"] or 0) >= 0.5:
        return None
    best = max(won, key=lambda one: one["verdict"]["value"])
    candidate = best.get("candidate") or {}
    answer = best["answer"].get("text") or best["verdict"]["raw"] or best["verdict"]["label"] or ""
    name = best["answer"].get("image")
    source = folder / "pictures" / name if name else None
    if source is None and candidate.get("image") not in (None, "goal"):
        source = folder / "inputs" / candidate["image"]
    picture = _thumbnail(source) if source is not None and source.is_file() else ""
    return Found(row["id"], best["origin"], str(candidate.get("prompt") or "")[:TEXT], str(answer)[:TEXT], picture)


def _thumbnail(path: Path) -> str:
    from mmunlearn.data import ImageRef
    from mmunlearn.errors import UserError
    from mmunlearn.report.strips import data_uri

    try:
        return data_uri(ImageRef(path=path), SIDE_PX)
    except UserError:  # a damaged picture leaves its place empty
        return ""
