"""Attack finished runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mmunlearn.verbs.options import Config, read_settings

EXAMPLES = (
    "mmunlearn attack runs/npo --suite vqa --control runs/retrain",
    "mmunlearn attack runs/npo runs/ga runs/gd --suite vqa --control runs/retrain --out compared",
    "mmunlearn attack runs/scrub --attack membership,relearn --control runs/retrain",
    "mmunlearn attack runs/scrub --attack lira,ulira options.shadows=16",
    "mmunlearn attack runs/scrub --attack relearn relearn.examples=50 options.relearn_time=true",
    "mmunlearn attack runs/npo --replay role_play",
)
WIDTH = 170  # columns of a table with seven figures
DEFAULT = "membership,relearn,prune,quantise"


def command(
    words: Annotated[
        list[str], typer.Argument(metavar="RUN... [section.field=value]...", help="Finished runs; then settings.")
    ],
    attack: Annotated[str | None, typer.Option("--attack", help="Names of attacks, separated by commas.")] = None,
    suite: Annotated[str | None, typer.Option("--suite", help="A named list: vision, vqa or diffusion.")] = None,
    control: Annotated[Path | None, typer.Option(help="Run of the retrained model: the same attacks on it.")] = None,
    config: Config = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace stored results of these attacks.")] = False,
    replay: Annotated[str | None, typer.Option("--replay", help="Ask an attack's winning candidates again.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where attacks.html and attacks.png go (beside the runs).")] = None,
) -> None:
    """Attack finished runs: membership inference on answers, tampering with a copy of the weights, other inputs,
    read-outs of hidden states.

    Words set an attack's settings (relearn.steps=[0,8,64]) or what all share (options.others=[test]). Results with 95 %
    intervals go to RUN/attacks/NAME/results.json; the same command again makes what is missing. A suite, and several
    runs, also give one table, a page and the budget figure.
    """
    from mmunlearn.attack_stage import attack_run
    from mmunlearn.errors import UserError
    from mmunlearn.run import Run

    runs = [Path(word) for word in words if "=" not in word or Path(word).is_dir()]
    if not runs:
        raise UserError(f"mmunlearn attack: names no run. Example: {EXAMPLES[0]}")
    content = read_settings(config, [word for word in words if Path(word) not in runs])
    if attack is not None and not attack.strip(", "):
        raise UserError(f"--attack: is empty. Example: --attack {DEFAULT}")
    names = [name.strip() for name in (attack or ("" if suite else DEFAULT)).split(",") if name.strip()]
    if not suite:
        _chosen(names, content, None, "")  # mistakes in settings are told before a run is looked for
    modalities = {folder: str(Run.read(folder).get("modality", "vision")) for folder in runs}
    if control is not None:
        Run.read(control)
    if replay is not None:
        _replay(runs, replay)
        return
    found: dict[str, list[dict[str, Any]]] = {}
    titles = _titles(runs)
    for folder in runs:
        wanted, options = _chosen(names, content, suite, modalities[folder])
        found[titles[folder]] = attack_run(folder, wanted, options, control=control, fresh=fresh)
        if suite:
            show_lines(found[titles[folder]], titles[folder])
        else:
            for results in found[titles[folder]]:
                show(results, folder)
    if suite or len(runs) > 1:
        _report(found, {titles[folder]: folder for folder in runs}, out)


def _titles(runs: Sequence[Path]) -> dict[Path, str]:
    """Names of the runs: the folder's, with its parent's where two are equal."""
    names = [folder.name for folder in runs]
    return {
        folder: folder.name if names.count(folder.name) == 1 else f"{folder.absolute().parent.name}/{folder.name}"
        for folder in runs
    }


def _chosen(
    names: Sequence[str], content: Mapping[str, Any], suite: str | None, modality: str
) -> tuple[list[dict[str, Any]], Any]:
    """Attacks with their settings, and the options; a suite's first, the words over them by title or name."""
    from mmunlearn.attack_options import AttackOptions
    from mmunlearn.errors import UserError, near_miss
    from mmunlearn.settings import build, merge

    entries: list[dict[str, Any]] = [{"name": name} for name in names]
    under: Mapping[str, Any] = {}
    if suite:
        from mmunlearn.attack_suites import attacks_of, find

        entries, under = attacks_of(suite, modality) + entries, find(suite, modality).options
    options = build(AttackOptions, merge(under, _section(content, "options")), "options")
    known = {word for entry in entries for word in (entry["name"], entry.get("as", entry["name"]))}
    unknown = [section for section in content if section not in {*known, "options"}]
    if unknown:
        raise UserError(f"{unknown[0]}: no such attack here. {near_miss(unknown[0], [*known, 'options'])}")
    made = []
    for entry in entries:
        title = entry.get("as", entry["name"])
        told = _section(content, entry["name"]) | (_section(content, title) if title != entry["name"] else {})
        made.append(merge(entry, told))
    return made, options


def _replay(runs: Sequence[Path], title: str) -> None:
    from mmunlearn.attack_replay import replay

    for folder in runs:
        found = replay(folder, title)
        print(
            f"{folder}: {found['succeeded_again']} of {found['asked']} winning candidates of {title} succeed again "
            f"({figure(found)})."
        )


def _report(found: Mapping[str, Sequence[Mapping[str, Any]]], places: Mapping[str, Path], out: Path | None) -> None:
    """The comparison of several runs, the page and the figure."""
    from mmunlearn.report.attack_page import write_attack_report
    from mmunlearn.report.attack_summary import comparison

    if len(found) > 1:
        titles, rows = comparison(found)
        _print(titles, rows, "clean → attacked; ! = the control rises too", left=2)
    folder = out or next(iter(places.values())).absolute().parent
    page, picture = write_attack_report(folder, found, places)
    print(f"Report: {page}" + (f", {picture}" if picture else ""))


def show_lines(found: Sequence[Mapping[str, Any]], run: str) -> None:
    """Print one table of all attacks on a run, and which of them leak."""
    from mmunlearn.report.attack_summary import COLUMNS, leaking, lines

    title = f"attacks on {run} (share in which the forgotten shows, or AUC; 95 % intervals; ! = the control rises too)"
    _print(COLUMNS, [line.figures for line in lines(found)], title, left=3)
    for sentence in leaking(found):
        print(f"Warning: {sentence}")
    if not any("control" in results for results in found):
        print("Without --control RUN (the retrained model) recovery cannot be told from guessing and learning.")


def _print(titles: Sequence[str], rows: Sequence[Sequence[str]], caption: str, left: int) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=caption)
    for number, title in enumerate(titles):
        table.add_column(title, justify="left" if number < left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    widths = [max(len(str(row[k])) for row in (titles, *rows)) + 3 for k in range(len(titles))]
    Console(width=max(Console().width, sum(widths) + 2)).print(table)


def _section(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    from mmunlearn.errors import UserError

    section = content.get(name, {})
    if not isinstance(section, Mapping):
        raise UserError(f"{name}: is {section!r}, not settings. Write {name}.field=value.")
    return dict(section)


def show(results: Mapping[str, Any], run: Path) -> None:
    """Print one attack's table: the clean model, each budget, the control's; every figure with its 95 % interval."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{results['attack']} on {run} (access: {results['access'].lower()}; 95 % intervals)")
    if results["curve"]:
        columns = _columns(results["curve"][0]["cells"])
        table.add_column("model", no_wrap=True)
        for name in columns:
            table.add_column(name.removesuffix("_top1").replace("_", " "), justify="right")
        table.add_column("gradient steps", justify="right")
        _curve_rows(table, "", results, columns, results["clean"])
        if "control" in results:
            table.add_section()
            _curve_rows(table, f"{results['control']['run']}: ", results["control"], columns, None)
    else:
        for title in ("measure", run.name, *([results["control"]["run"]] if "control" in results else [])):
            table.add_column(title, justify="left" if title == "measure" else "right")
        for name, cell in results["cells"].items():
            other = [figure(results["control"]["cells"].get(name))] if "control" in results else []
            table.add_row(name.partition("/")[2], figure(cell), *other)
        table.add_section()
        for name, cell in results["clean"].items():
            if name.endswith("_top1"):
                other = [figure(results["control"].get("clean", {}).get(name))] if "control" in results else []
                table.add_row(f"{name.removesuffix('_top1')} accuracy (clean)", figure(cell), *other)
    # Figures must not be cut off: where nobody looks at a terminal, or at a narrow one, lines run on.
    Console(width=max(Console().width, WIDTH) if results["curve"] else None).print(table)
    for line in _remarks(results):
        print(line)


def _columns(cells: Mapping[str, Any]) -> list[str]:
    return [name for name in cells if not name.endswith("_nll")]


def _curve_rows(table: Any, prefix: str, results: Mapping[str, Any], columns: Sequence[str], clean: Any) -> None:
    if clean is not None:
        table.add_row("clean", *(figure(clean.get(name)) for name in columns), "")
    for point in results["curve"]:
        mark = " *" if point["budget"] == results["worst"] else ""
        figures = [figure(point["cells"].get(name)) for name in columns]
        table.add_row(f"{prefix}{point['budget']}{mark}", *figures, str(point["cost"]["gradient_steps"]))


def figure(cell: Mapping[str, Any] | None) -> str:
    """A cell's value with its 95 % interval."""
    if cell is None or cell["value"] is None:
        return "–"
    if cell["low"] is None or cell["high"] is None:
        return f"{cell['value']:.3f}"
    return f"{cell['value']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"


def _remarks(results: Mapping[str, Any]) -> list[str]:
    cost = results["cost"]
    lines = []
    if results["curve"]:
        lines.append(
            f"* the budget at which most of the forgotten shows. Cost: {cost['gradient_steps']} gradient steps, "
            f"{cost['queries']} queries, {cost['seconds']:.1f} s."
        )
        if "control" not in results:
            lines.append("Without --control RUN (the retrained model) recovery cannot be told from learning.")
    if results.get("leaks"):
        from mmunlearn.report.attack_summary import leaking

        lines += [f"Warning: {sentence}" for sentence in leaking([results])]
    time = results.get("relearn_time")
    if time:
        ratio = f", retrained model {time['control_epochs']}, AIN {time['ain']:.3f}" if "ain" in time else ""
        lines.append(f"Epochs to {time['goal_accuracy']:.3f} on the forget set: {time['epochs']}{ratio}.")
    return lines
