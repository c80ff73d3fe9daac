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
    """What to reproduce. rows: a choice of the table's rows (original and retrain are always there; a row that is named
    runs for all requests). requests: a choice of the table's requests."""

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
    requests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Point:
    """One run of a table: a row, a request (None: the table has none, or the original before any) and a seed.

    earlier: requests that the run's start has been through, in order.
    """

    row: str
    seed: int
    request: str | None = None
    earlier: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's name."""
        return run_name(self.row, self.seed, self.request)


def run_name(row: str, seed: int, request: str | None = None) -> str:
    """Folder name of a run."""
    return f"{row}@{request}-s{seed}" if request else f"{row}-s{seed}"


def chosen_rows(card: Card, table: str, rows: Sequence[str]) -> tuple[str, ...]:
    """The rows to run, in the table's order; rows of the card that the table does not list are added at the end. A
    victim of the table's attacks brings its attacks along, unless some of them are named."""
    for row in rows:
        if row not in card.rows:
            raise UserError(f"--rows: {card.name} has no row {row!r}. {near_miss(row, card.rows)}")
    listed = card.tables[table].rows
    if not rows:
        return listed
    wanted = {*ALWAYS, *rows, *(card.rows[row].victim for row in rows)}
    told = {card.rows[row].victim for row in rows}
    wanted |= {row for row in listed if card.rows[row].victim in set(rows) - told}
    return (*(row for row in listed if row in wanted), *(row for row in rows if row not in listed))


def chosen_requests(card: Card, table: str, edition: Edition, requests: Sequence[str]) -> tuple[str, ...]:
    """The requests to run, in the table's order; empty for a table without requests."""
    listed = card.tables[table].requests_of(edition)
    for request in requests:
        if not listed:
            raise UserError(f"--requests: table {table!r} of {card.name} has no requests. Leave the option out.")
        if request not in listed:
            raise UserError(f"--requests: table {table!r} has no request {request!r}. {near_miss(request, listed)}")
    before = {earlier for request in requests for earlier in card.tables[table].before(request)}
    return tuple(request for request in listed if not requests or request in requests or request in before)


def points(card: Card, plan: Plan) -> list[Point]:
    """All runs of the plan: originals and retrained models first, since everything else is compared with them."""
    table = card.pick_table(plan.table)
    requests = chosen_requests(card, table, plan.edition, plan.requests)
    rows = [row for row in chosen_rows(card, table, plan.rows) if plan.edition in card.rows[row].editions]
    found = [Point("original", seed) for seed in range(plan.seeds)] if requests and "original" in rows else []
    for row in sorted(rows, key=lambda row: row not in ALWAYS):  # stable: the table's order otherwise
        entry = card.tables[table]
        few = None if row in plan.rows else entry.row_requests.get(plan.edition, {}).get(row)
        for number, request in enumerate(requests or (None,)):
            if few is not None and request not in few:
                continue
            earlier = entry.before(request) if request else ()
            if entry.sequential:
                earlier = tuple(requests[:number])
            # A request may ask something else of the row's models than its method (relearning of the retrained one).
            if row == "original" or card.method(row, table, plan.edition, plan.preset, request)["name"] == "retrain":
                earlier = ()
            found += [Point(row, seed, request, earlier) for seed in range(plan.seeds)]
    return found


def _from_scratch(card: Card, row: str) -> bool:
    """Whether the row's models start from no other run: nothing comes after anything in a sequence."""
    return row == "original" or (card.rows[row].method["name"] == "retrain" and not card.rows[row].victim)


def start_of(card: Card, point: Point) -> str | None:
    """Name of the run that a run starts from: the original, or the same row's run of the request before."""
    if card.rows[point.row].victim:
        return run_name(card.rows[point.row].victim, point.seed, point.request)
    if point.earlier:
        return run_name(point.row, point.seed, point.earlier[-1])
    if point.row == "original":
        return run_name("original", point.seed) if point.request else None
    return None if _from_scratch(card, point.row) else run_name("original", point.seed)


def run_settings(card: Card, plan: Plan, point: Point) -> dict[str, Any]:
    """Settings of one run of the table, as they go into its config.yaml."""
    table = card.pick_table(plan.table)
    row, seed, request = point.row, point.seed, point.request
    start = start_of(card, point)
    settings: dict[str, Any] = {
        "modality": card.modality,
        "benchmark": {"name": card.name, **card.asked(table, request, plan.edition)},
        "edition": plan.edition,
        "root": str(plan.root.resolve()) if plan.root else None,
        "row": row,
        "seed": seed,
        "start": f"../{start}" if start else None,
        "model": card.unlearn(plan.edition, plan.preset) if start else card.model(table, plan.edition, plan.preset),
        "method": card.method(row, table, plan.edition, plan.preset, request),
        "train": card.editions[plan.edition].train,
        "evaluate": {"table": table, "limit": plan.limit},
    }
    attack = card.rows[row].attack
    if attack is not None:
        settings |= {"attack": attack.of(plan.edition), "model": {}}
    if request is not None:
        settings |= {"request": request, "earlier": list(point.earlier)}
    if row == "original" and request is not None:  # the model that was trained once, measured on this request
        settings |= {"method": {"name": "as_given"}, "model": {}}
    if (row != "original" or request is not None) and any(split.targets_from for split in card.splits.values()):
        settings["evaluate"]["original"] = f"../{run_name('original', seed, request)}"
    return merge(settings, plan.settings or {})


def jobs(card: Card, plan: Plan) -> list[JobSpec]:
    """One job a run; methods wait for their original. Settings files are written beside the runs."""
    runs = plan.out / "runs"
    specs = []
    for point in points(card, plan):
        name = point.name
        file = plan.out / "settings" / f"{name}.yaml"
        content = run_settings(card, plan, point)
        _same_settings(runs / name, content)
        write_text(file, yaml.safe_dump(content, sort_keys=True, allow_unicode=True))
        waits = (start_of(card, point), content["evaluate"].get("original", "").removeprefix("../"))
        after = tuple(dict.fromkeys(other for other in waits if other and other != name))
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
    from mmunlearn.pipeline import make_benchmark, rescore

    card = read_card(plan.benchmark)
    wanted = points(card, plan)
    benchmark = make_benchmark(resolved(run_settings(card, plan, wanted[0])))
    resolve_root(benchmark, plan.edition, plan.root)  # built or refused here, once, before any worker starts
    data = {wanted[0].request: _data_of(card, plan, wanted[0])}
    done = {result.name: result for result in Grid(jobs(card, plan)).run(launcher)}
    failed = [point for point in wanted if not done[point.name].ok]
    for point in failed:
        log.warning("%s failed: %s", point.name, done[point.name].tail.strip() or done[point.name].outcome)
    needed = next((done[point.name] for point in failed if point.row in ALWAYS), None)
    if needed is not None:
        raise UserError(f"{needed.name} failed: {needed.tail.strip()[-300:]}\nSee {needed.log}.")
    runs = plan.out / "runs"
    for request in dict.fromkeys(point.request for point in wanted):
        finished = [point for point in wanted if point.request == request and point not in failed]
        if request not in data:
            data = {request: _data_of(card, plan, finished[0])}  # one request's data at a time
        for point in finished:
            names = (run_name(row, point.seed, request) for row in ("retrain", "original"))
            rescore(runs / point.name, Comparison(*(runs / name for name in names)), data[request])
    return _write(plan, card, data)


def _data_of(card: Card, plan: Plan, point: Point) -> Mapping[str, Split]:
    """Splits of a run."""
    from mmunlearn.pipeline import load_data, make_benchmark

    settings = resolved(run_settings(card, plan, point))
    return load_data(settings, make_benchmark(settings))


def report_again(plan: Plan) -> Table:
    """Write the table and the page of a finished reproduction again (after attacks on its runs, say)."""
    return _write(plan, read_card(plan.benchmark), {})


def _write(plan: Plan, card: Card, data: Mapping[str | None, Mapping[str, Split]]) -> Table:
    """Table and page; `data`: splits by request, where they are loaded already."""
    from mmunlearn.report.pictures import choose
    from mmunlearn.report.runs import read_run
    from mmunlearn.report.write import write_report

    folders = [spec.run_folder for spec in jobs(card, plan)]
    finished = [read_run(folder) for folder in folders if folder and (folder / "results.json").is_file()]
    wanted = points(card, plan)
    shown = next((point for point in wanted if point.request), wanted[0])  # the page shows the first request's pictures
    splits = data[shown.request] if shown.request in data else _data_of(card, plan, shown)
    return write_report(plan.out, finished, card, choose(card, splits))


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
