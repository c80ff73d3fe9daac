"""Shared by train, unlearn and the siblings' train scripts: settings → run → printed result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmunlearn.cards import read_card
from mmunlearn.errors import UserError
from mmunlearn.settings import build, merge


def run_settings(content: Mapping[str, Any]) -> Any:
    """RunSettings of what the user gave: where a `row` is named, the card's settings for it lie under the words."""
    from mmunlearn.pipeline import RunSettings

    benchmark = content.get("benchmark")
    if isinstance(benchmark, str):
        content = merge(content, {"benchmark": {"name": benchmark}})
        benchmark = content["benchmark"]
    if not isinstance(benchmark, Mapping) or "name" not in benchmark:
        raise UserError("benchmark.name: is required and missing. Example: benchmark.name=mufac")
    card = read_card(benchmark["name"])
    edition = content.get("edition", "mini")
    if edition not in card.editions:
        raise UserError(f"edition: {edition!r} is not one of {', '.join(card.editions)}.")
    table = card.pick_table(content.get("evaluate", {}).get("table"))
    request = content.get("request") or None
    under: dict[str, Any] = {
        "modality": card.modality, "benchmark": card.asked(table, request, edition),
        "train": card.editions[edition].train,
        "model": {} if content.get("start") else card.model(table, edition),
    }  # fmt: skip
    row = content.get("row")
    if row:
        under["method"] = (
            card.method(row, table, edition, content.get("preset"), request)
            if row != "original" or request is None
            else {"name": "as_given"}  # the original of a request is the one that was trained once
        )
    content = {key: value for key, value in content.items() if key != "preset"}
    settings = merge(under, content)
    if "method" not in settings:
        raise UserError(
            "method.name: is required and missing. Example: method.name=scrub, or row=scrub for the card's."
        )
    if row and content.get("method", {}).get("name", under["method"]["name"]) != under["method"]["name"]:
        raise UserError(f"method.name: row {row!r} is method {under['method']['name']!r}. Give one of the two.")
    # as_given without a start is the published model that `model.name` names.
    if settings["method"].get("name") not in ("retrain", "as_given") and not settings.get("start"):
        raise UserError(
            "start: is required and missing: the folder of the model to unlearn. Example: start=runs/original"
        )
    return build(RunSettings, settings, "")


def run_and_print(content: Mapping[str, Any], out: Path, *, fresh: bool, quiet: bool) -> None:
    """Execute the run and print its cells (the main process of a distributed run prints)."""
    from mmunlearn.pipeline import execute

    results = execute(run_settings(content), out, fresh=fresh)
    if results:
        print(result_line(results, out) if quiet else result_text(results, out))


def result_line(results: Mapping[str, Any], out: Path) -> str:
    """One line: row, a few cells, flags, folder."""
    shown = [f"{name} {cell['value']:.3f}" for name, cell in results["cells"].items() if cell["value"] is not None][:6]
    flags = f" [{', '.join(results['flags'])}]" if results["flags"] else ""
    return f"{results['row']} s{results['seed']}: {', '.join(shown)}{flags} -> {out}"


def result_text(results: Mapping[str, Any], out: Path) -> str:
    """All cells with n and standard error, the cost, the folder."""
    lines = [f"{results['row']} on {results['benchmark']} ({results['edition']}), seed {results['seed']}"]
    width = max((len(name) for name in results["cells"]), default=0)
    for name, cell in results["cells"].items():
        value = "–" if cell["value"] is None else f"{cell['value']:.4f}"
        error = "" if cell["stderr"] is None else f" ± {cell['stderr']:.4f}"
        unscored = f", {cell['unscored']} unscored" if cell["unscored"] else ""
        lines.append(f"  {name:<{width}}  {value}{error}  (n = {cell['n']}{unscored})")
    if results["flags"]:
        lines.append(f"  flags: {', '.join(results['flags'])}")
    cost = results["cost"]
    lines.append(f"  {cost['seconds']:.1f} s, {cost['stored_bytes'] / 1e6:.1f} MB stored -> {out}")
    return "\n".join(lines)
