"""Reproduce: a card's table as runs, in order of what they need, then one table, the paper's numbers beside ours."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mmunlearn.atomic import write_text
from mmunlearn.cards import Card, Edition, read_card
from mmunlearn.data import Split
from mmunlearn.errors import UserError, near_miss
from mmunlearn.grid import Grid, JobSpec
from mmunlearn.launchers.base import Launcher
from mmunlearn.pipeline import RunSettings
from mmunlearn.report.table import Table
from mmunlearn.run import Run
from mmunlearn.settings import build, differences, merge, plain

log = logging.getLogger(__name__)

ALWAYS = ("original", "retrain")


@dataclass(frozen=True)
class Plan:
    """What to reproduce. rows: a choice of the table's rows (original and retrain are always there)."""

    benchmark: str
    out: Path
    edition: Edition = "mini"
    table: str | None = None
    rows: tuple[str, ...] = ()
    seeds: int = 1
    limit: int = 0
    root: Path | None = None
    preset: str | None = None
    settings: Mapping[str, Any] | None = None  # laid over every run's settings


def chosen_rows(card: Card, table: str, rows: Sequence[str]) -> tuple[str, ...]:
    """The rows to run, in the table's order; rows of the card that the table does not list are added at the end."""
    for row in rows:
        if row not in card.rows:
            raise UserError(f"--rows: {card.name} has no row {row!r}. {near_miss(row, card.rows)}")
    listed = card.tables[table].rows
    if not rows:
        return listed
    wanted = {*ALWAYS, *rows}
    return (*(row for row in listed if row in wanted), *(row for row in rows if row not in listed))


def run_name(row: str, seed: int) -> str:
    """Folder name of a run."""
    return f"{row}-s{seed}"


def run_settings(card: Card, plan: Plan, row: str, seed: int) -> dict[str, Any]:
    """Settings of one run of the table, as they go into its config.yaml."""
    table = card.pick_table(plan.table)
    fresh = row == "original" or card.rows[row].method["name"] == "retrain"
    start = None if fresh else f"../{run_name('original', seed)}"
    settings = {
        "modality": card.modality,
        "benchmark": {"name": card.name, **card.tables[table].benchmark},
        "edition": plan.edition,
        "root": str(plan.root.resolve()) if plan.root else None,
        "row": row,
        "seed": seed,
        "start": start,
        "model": card.unlearn(plan.edition, plan.preset) if start else card.model(table, plan.edition, plan.preset),
        "method": card.method(row, table, plan.edition, plan.preset),
        "train": card.editions[plan.edition].train,
        "evaluate": {"table": table, "limit": plan.limit},
    }
    if row != "original" and any(split.targets_from for split in card.splits.values()):
        settings["evaluate"]["original"] = f"../{run_name('original', seed)}"
    return merge(settings, plan.settings or {})


def jobs(card: Card, plan: Plan) -> list[JobSpec]:
    """One job a row and seed; methods wait for their original. Settings files are written beside the runs."""
    table = card.pick_table(plan.table)
    runs = plan.out / "runs"
    specs = []
    rows = chosen_rows(card, table, plan.rows)
    # Originals and retrained models first: everything else waits for them.
    ordered = [row for row in rows if row in ALWAYS] + [row for row in rows if row not in ALWAYS]
    for row in ordered:
        if plan.edition not in card.rows[row].editions:
            continue
        for seed in range(plan.seeds):
            name = run_name(row, seed)
            file = plan.out / "settings" / f"{name}.yaml"
            content = run_settings(card, plan, row, seed)
            _same_settings(runs / name, content)
            write_text(file, yaml.safe_dump(content, sort_keys=True, allow_unicode=True))
            waits = content["start"] or content["evaluate"].get("original")
            after = (run_name("original", seed),) if waits else ()
            argv = ("unlearn", "--config", str(file), "--out", str(runs / name), "--quiet")
            specs.append(JobSpec(name, argv, runs / name, after=after))
    return specs


def reproduce(plan: Plan, launcher: Launcher) -> Table:
    """Run what is missing and write OUT/table.{json,md,html}; returns the table.

    A row whose run failed stays out of the table, with a warning; UserError when the original or retrained model
    failed, or when a finished run in OUT was made with other settings.
    """
    from mmunlearn.benchmark import resolve_root
    from mmunlearn.evaluate import Comparison
    from mmunlearn.pipeline import load_data, make_benchmark, rescore

    card = read_card(plan.benchmark)
    chosen_rows(card, card.pick_table(plan.table), plan.rows)
    first = resolved(run_settings(card, plan, "original", 0))
    benchmark = make_benchmark(first)
    resolve_root(benchmark, plan.edition, plan.root)  # built or refused here, once, before any worker starts
    data = load_data(first, benchmark)
    specs = jobs(card, plan)
    done = {result.name: result for result in Grid(specs).run(launcher)}
    failed = [name for name, result in done.items() if not result.ok]
    for name in failed:
        log.warning("%s failed: %s", name, done[name].tail.strip() or done[name].outcome)
    if any(name.rpartition("-s")[0] in ALWAYS for name in failed):
        raise UserError(f"{failed[0]} failed: {done[failed[0]].tail.strip()[-300:]}\nSee {done[failed[0]].log}.")
    runs = plan.out / "runs"
    for spec in specs:
        if spec.name not in failed:
            assert spec.run_folder is not None  # jobs() names one
            seed = spec.name.rpartition("-s")[2]
            rescore(spec.run_folder, Comparison(runs / f"retrain-s{seed}", runs / f"original-s{seed}"), data)
    return _write(plan, card, data)


def report_again(plan: Plan) -> Table:
    """Write the table and the page of a finished reproduction again (after attacks on its runs, say)."""
    from mmunlearn.pipeline import load_data, make_benchmark

    card = read_card(plan.benchmark)
    first = resolved(run_settings(card, plan, "original", 0))
    return _write(plan, card, load_data(first, make_benchmark(first)))


def _write(plan: Plan, card: Card, data: Mapping[str, Split]) -> Table:
    from mmunlearn.report.pictures import choose
    from mmunlearn.report.runs import read_run
    from mmunlearn.report.write import write_report

    folders = [spec.run_folder for spec in jobs(card, plan)]
    finished = [read_run(folder) for folder in folders if folder and (folder / "results.json").is_file()]
    return write_report(plan.out, finished, card, choose(card, data))


def resolved(content: Mapping[str, Any]) -> RunSettings:
    """The settings of a run with every default filled in."""
    return build(RunSettings, content, "")


def _same_settings(folder: Path, content: Mapping[str, Any]) -> None:
    """Raise UserError when the finished run in `folder` was made with other settings than `content`."""
    if not (folder / "manifest.json").is_file():
        return  # unfinished: opening the run compares
    changed = differences(Run.read(folder), plain(resolved(content)))
    if changed:
        raise UserError(
            f"{folder} was made with other settings ({'; '.join(changed[:3])}).\n"
            "Use another --out, or remove the folder."
        )
