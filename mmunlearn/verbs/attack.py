"""Attack a finished run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mmunlearn.verbs.options import Config, Words, read_settings

EXAMPLES = (
    "mmunlearn attack runs/scrub --attack membership,relearn --control runs/retrain",
    "mmunlearn attack runs/scrub --attack lira,ulira options.shadows=16",
    "mmunlearn attack runs/scrub --attack relearn relearn.examples=50 options.relearn_time=true",
)
WIDTH = 170  # columns of a table with seven figures
DEFAULT = "membership,relearn,prune,quantise"


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    words: Words = None,
    attack: Annotated[str, typer.Option("--attack", help="Names of attacks, separated by commas.")] = DEFAULT,
    control: Annotated[Path | None, typer.Option(help="Run of the retrained model: the same attacks on it.")] = None,
    config: Config = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace stored results of these attacks.")] = False,
) -> None:
    """Attack a finished run: membership inference on its answers, tampering with a copy of its weights.

    Words set an attack's settings (relearn.steps=[0,8,64]) or what all share (options.others=[test]). Results with 95 %
    intervals go to RUN/attacks/NAME/results.json; the same command again makes what is missing.
    """
    from mmunlearn.attack_stage import AttackOptions, attack_run
    from mmunlearn.errors import UserError, near_miss
    from mmunlearn.run import Run
    from mmunlearn.settings import build

    names = [name.strip() for name in attack.split(",") if name.strip()]
    if not names:
        raise UserError(f"--attack: is empty. Example: --attack {DEFAULT}")
    content = read_settings(config, words)
    options = build(AttackOptions, _section(content, "options"), "options")
    unknown = [section for section in content if section not in {*names, "options"}]
    if unknown:
        raise UserError(f"{unknown[0]}: no such attack here. {near_miss(unknown[0], [*names, 'options'])}")
    wanted = [{"name": name, **_section(content, name)} for name in names]
    for folder in (run, control):
        if folder is not None:
            Run.read(folder)
    for results in attack_run(run, wanted, options, control=control, fresh=fresh):
        show(results, run)


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
                table.add_row(
                    f"{name.removesuffix('_top1')} accuracy (clean)", figure(cell), *([""] * ("control" in results))
                )
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
    time = results.get("relearn_time")
    if time:
        ratio = f", retrained model {time['control_epochs']}, AIN {time['ain']:.3f}" if "ain" in time else ""
        lines.append(f"Epochs to {time['goal_accuracy']:.3f} on the forget set: {time['epochs']}{ratio}.")
    return lines
