"""Contract checks of benchmarks (house rule B6): the same for every benchmark, also for those of plugins.

`checks(cls)` builds the benchmark's tiny edition once a process (`cls.tiny` lays smaller sizes over the card's mini
edition) and reads it in every variant that the class states.
"""

import fnmatch
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from mmunlearn import registry
from mmunlearn.benchmark import Benchmark, resolve_root
from mmunlearn.borrowed_targets import borrowed
from mmunlearn.cards import Card, Edition, EvaluationPlan
from mmunlearn.data import Split, image_digests
from mmunlearn.errors import UserError
from mmunlearn.evaluate import Comparison, reduce, respond
from mmunlearn.goal_evaluation import pursue_all
from mmunlearn.handle import Decoding, Handle
from mmunlearn.metrics.base import Value
from mmunlearn.modalities import handle_class
from mmunlearn.run import Run
from mmunlearn.settings import merge
from mmunlearn.testing.check import Check

EDITIONS: tuple[Edition, ...] = ("mini", "full")


@cache
def tiny_root(cls: type[Benchmark], seed: int = 0) -> Path:
    """Folder with the tiny edition, built once a process and removed at its end."""
    keep = tempfile.TemporaryDirectory(prefix="mmunlearn-tiny-")
    _FOLDERS.append(keep)
    cls().build_mini(Path(keep.name), seed, cls.tiny)
    return Path(keep.name)


_FOLDERS: list[tempfile.TemporaryDirectory] = []


def tiny_splits(cls: type[Benchmark], settings: Mapping[str, Any]) -> Mapping[str, Split]:
    """Splits of the tiny edition under `settings`."""
    return cls({**cls.tiny_settings, **settings}).splits(tiny_root(cls), "mini")


def checks(cls: type[Benchmark]) -> list[Check]:
    """All contract checks that apply to a benchmark class."""
    tests: dict[str, Callable[[], None]] = {
        "card": lambda: _card(cls),
        "unknown setting refused": lambda: _unknown_setting(cls),
        "unknown mini size refused": lambda: _unknown_size(cls),
        "rows can be made": lambda: _rows(cls),
        "tables name cells that are measured": lambda: _tables(cls),
        "builder is deterministic": lambda: _builder(cls),
        "offline without data": lambda: _offline(cls),
        "evaluations run end to end": lambda: _evaluations(cls),
    }
    for variant, settings in (cls.variants or {"": {}}).items():
        tests |= {
            f"ids unique and stable {variant}".strip(): partial(_ids, cls, settings),
            f"splits of the card {variant}".strip(): partial(_splits, cls, settings),
            f"promises kept {variant}".strip(): partial(_promises, cls, settings, variant),
            f"examples usable {variant}".strip(): partial(_examples, cls, settings),
        }
    return [Check(cls.title(), name, run) for name, run in tests.items()]


def _card(cls: type[Benchmark]) -> None:
    card = cls().card
    assert card.name == cls.title(), f"the card is called {card.name}"
    assert card.source.licence, "the card states no licence"
    for edition in EDITIONS:
        # A published model is taken as it is, and has no retrained counterpart.
        allowed = {"retrain"} if edition == "mini" else {"retrain", "as_given"}
        for table in card.tables:
            assert card.method("original", table, edition)["name"] in allowed
            if edition in card.rows["retrain"].editions:
                assert card.method("retrain", table, edition)["name"] == "retrain"
    for table in card.tables:
        for plan in (plan.at("") for plan in card.plans(table)):
            assert not plan.split or plan.split in card.splits, f"{plan.name} names {plan.split}, which the card lacks"
            registry.load("judges", plan.judge_name, card.modality)(plan.judge_settings)
            for wanted in plan.metrics:
                assert registry.load("metrics", metric_name(wanted), card.modality)


def metric_name(wanted: str | Mapping[str, Any]) -> str:
    """Name of a metric that a plan asks for, by name or with settings."""
    return wanted if isinstance(wanted, str) else wanted["name"]


def _unknown_setting(cls: type[Benchmark]) -> None:
    try:
        cls({"no_such_setting": 1})
    except UserError as error:
        assert "no_such_setting" in str(error)
    else:
        raise AssertionError("an unknown setting was accepted")


def _unknown_size(cls: type[Benchmark]) -> None:
    """A wrong key in the card's `editions.mini.data` is the user's mistake, told before anything is written."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            cls().build_mini(Path(folder), 0, {"no_such_size": 1})
        except UserError as error:
            assert "no_such_size" in str(error), str(error)
        else:
            raise AssertionError("an unknown size was accepted")
        assert not any(Path(folder).iterdir()), "something was written before the sizes were checked"


def _rows(cls: type[Benchmark]) -> None:
    """Every row of every table constructs its method, for both editions, with each preset and without, and for the
    first request that a pattern of the row fits; every request is one that the benchmark takes."""
    card = cls().card
    for table in card.tables:
        benchmark = cls({**card.tables[table].benchmark})
        for request in card.tables[table].requests:
            cls(card.asked(table, request))
        for edition in EDITIONS:
            assert benchmark.model(edition) | card.model(table, edition)
            for preset in (None, *card.presets):
                for row in card.rows:
                    for asked in _differing(card, table, row):
                        settings = card.method(row, table, edition, preset, asked)
                        name = settings.pop("name")
                        registry.load("methods", name, card.modality)(settings)


def _differing(card: Card, table: str, row: str) -> list[str | None]:
    """No request, and for each pattern of the row the first request that it fits."""
    first = (fnmatch.filter(card.tables[table].requests, pattern)[:1] for pattern in card.rows[row].requests)
    return [None, *(name for names in first for name in names)]


def _tables(cls: type[Benchmark]) -> None:
    """Columns are measured by a plan of their table, in the metric's own direction; published cells are numbers."""
    card = cls().card
    for name, table in card.tables.items():
        measured = measured_cells(card, card.plans(name))
        for column in table.columns:
            if column.published_only:
                assert column.cell not in measured, f"{name}: {column.cell} is measured and marked as published only"
                continue
            if table.attacks and column.cell.startswith("attack/"):
                continue  # what a row's attack gives (mmunlearn.attack_cells)
            assert column.cell in measured, f"{name}: no evaluation measures {column.cell}"
            better = measured[column.cell]
            assert better in (None, column.better) or column.better == "closer", (
                f"{name}: {column.cell} is better {column.better} here, {better} in the metric"
            )
        for cells in table.paper.cells.values() if table.paper else ():
            assert all(np.isfinite(value) for value in cells.values()), f"{name}: a published number is not finite"


def measured_cells(card: Card, plans: tuple[EvaluationPlan, ...]) -> dict[str, str | None]:
    """Cells that the plans' metrics give, with the metric's direction (None: an attack's cell)."""
    cells: dict[str, str | None] = {}
    for plan in plans:
        for wanted in plan.metrics:
            metric = registry.load("metrics", metric_name(wanted), card.modality)
            title = metric_name(wanted) if isinstance(wanted, str) else wanted.get("as", metric_name(wanted))
            cells[f"{plan.prefix}/{title}"] = metric.better  # type: ignore[attr-defined]
    return cells


def _builder(cls: type[Benchmark]) -> None:
    first = _files(tiny_root(cls))
    with tempfile.TemporaryDirectory(prefix="mmunlearn-tiny-") as again:
        cls().build_mini(Path(again), 0, cls.tiny)
        assert _files(Path(again)) == first, "the same seed wrote other files"
    other = _files(tiny_root(cls, 1))
    assert other.keys() and other != first, "another seed wrote the same files"


def _files(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def _offline(cls: type[Benchmark]) -> None:
    """Without data the message says what is needed and how to get it; an empty folder is refused as well."""
    benchmark = cls()
    card = benchmark.card
    with tempfile.TemporaryDirectory() as empty:
        missing = Path(empty) / "missing"
        for root, expected in ((None, (card.source.get, card.source.licence, "--root")), (missing, (str(missing),))):
            message = _refusal(partial(resolve_root, benchmark, "full", root))
            assert all(part in message for part in expected), message
        message = _refusal(lambda: benchmark.splits(Path(empty), "full"))
        assert empty in message and card.source.what in message, message


def _refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except UserError as error:
        assert 1 <= len(str(error).splitlines()) <= 4, f"not one to four lines: {error}"
        return str(error)
    raise AssertionError("no UserError")


def _ids(cls: type[Benchmark], settings: Mapping[str, Any]) -> None:
    first, second = tiny_splits(cls, settings), tiny_splits(cls, settings)
    assert list(first) == list(second)
    for name, split in first.items():
        assert len(set(split.ids)) == len(split), f"{name} repeats an id"
        assert split.ids == second[name].ids, f"{name} has other ids on the second load"
        assert split.fingerprint == second[name].fingerprint, f"{name} has other content on the second load"


def _splits(cls: type[Benchmark], settings: Mapping[str, Any]) -> None:
    card, splits = cls().card, tiny_splits(cls, settings)
    assert set(card.splits) <= set(splits), f"the card names {set(card.splits) - set(splits)} too"
    for name, split in splits.items():
        assert len(split), f"{name} is empty"
        assert split.name == name
        assert name not in card.splits or split.role == card.splits[name].role, f"{name} has role {split.role}"
    if "train" in splits:
        both = {*splits["forget"].ids, *splits["retain"].ids}
        assert both <= set(splits["train"].ids), "train does not hold forget and retain"


def _promises(cls: type[Benchmark], settings: Mapping[str, Any], variant: str) -> None:
    card, splits = cls().card, tiny_splits(cls, settings)
    assert not set(splits["forget"].ids) & set(splits["retain"].ids), "an example is in forget and in retain"
    for promise in card.disjoint:
        if promise.variants and variant not in promise.variants:
            continue
        first, second = (set(_values(splits[name], promise.by)) for name in promise.splits)
        shared = first & second
        assert not shared, f"{' and '.join(promise.splits)} share {promise.by} {min(shared)}"


def _values(split: Split, by: str) -> list[str]:
    if by == "id":
        return list(split.ids)
    if by == "content":
        return image_digests(split.examples)
    return [example.tags[by] for example in split]


def _examples(cls: type[Benchmark], settings: Mapping[str, Any]) -> None:
    """Every image decodes, prompts are not empty, targets lie within the label map."""
    labels = cls().card.labels
    for split in tiny_splits(cls, settings).values():
        for example in split:
            assert example.prompt is None or example.prompt.strip(), f"{example.id} has an empty prompt"
            if labels and not isinstance(example.target, str):
                assert example.target is not None, f"{example.id} has no target"
                assert set(np.atleast_1d(np.asarray(example.target)).tolist()) <= set(labels), example.target
            if example.image is not None:
                picture = example.image.open()
                assert picture.mode == "RGB" and min(picture.size) > 0


def _evaluations(cls: type[Benchmark]) -> None:
    """Responses of an untrained model, compared with themselves, give every cell of every table; of a table with
    requests, every cell for one request at least."""
    card = cls().card
    for name, table in card.tables.items():
        cells: dict[str, Value] = {}
        requests = table.requests_of("mini")
        with tempfile.TemporaryDirectory() as folder:
            run = Run.scratch(Path(folder))
            for number, request in enumerate(requests or (None,)):
                benchmark = cls(merge(cls.tiny_settings, card.asked(name, request)))
                splits = benchmark.splits(tiny_root(cls), "mini")
                handle = handle_class(card.modality)({**benchmark.model("mini"), **cls.tiny_model}, 0)
                plans = tuple(plan.at(str(tiny_root(cls))) for plan in benchmark.plans(name))
                if not table.sequential and _cells_of(card, plans) <= set(cells):
                    continue  # another request has given these cells
                for split in dict.fromkeys(s for p in plans for s in (p.split, p.against) if s and not p.goals):
                    _respond(run, handle, cls, splits, split)
                short = {plan.split: splits[plan.split].subset(range(2)) for plan in plans if plan.goals}
                pursue_all(run, plans, handle, short, lambda _: Decoding(max_new_tokens=2), card.modality)
                asked = requests[: number + 1] if table.sequential else requests[number : number + 1]
                against = Comparison(reference=run.path, original=run.path)
                gone = [table.requests[one] for one in asked]
                cells |= reduce(run, plans, splits, card.modality, against, gone)
        for cell in measured_cells(card, card.plans(name)):
            if cell.partition("/")[0] in _other_plans(cls, card, name):
                continue
            assert cell in cells, f"{name}: {cell} is not in the results"
            # A judge may leave all that an untrained model says unscored; then it must say so.
            found = cells[cell]
            assert (np.isfinite(found.value) and found.n > 0) or found.unscored > 0, f"{name}: {cell} is {found}"


def _cells_of(card: Card, plans: tuple[EvaluationPlan, ...]) -> set[str]:
    """Cells that the plans' metrics give; none known where there is no plan with a metric."""
    return set(measured_cells(card, plans)) or {""}


def _other_plans(cls: type[Benchmark], card: Card, table: str) -> set[str]:
    """Prefixes of the card's plans that no request of the table asks for (a benchmark may measure by the request)."""
    requests = card.tables[table].requests_of("mini") or (None,)
    made = {plan.prefix for one in requests for plan in cls(card.asked(table, one)).plans(table)}
    return {plan.prefix for plan in card.plans(table)} - made


def _respond(run: Run, handle: Handle, cls: type[Benchmark], splits: Mapping[str, Split], name: str) -> None:
    """Responses as a run makes them, but short; targets that are an original's answers come from this model."""
    facts = cls().card.splits[name]
    said = {**facts.decoding, **cls().card.editions["mini"].decoding, **cls.tiny_decoding}
    fields = {key: value for key, value in said.items() if key not in ("max_new_tokens", "temperature")}
    how, asked = Decoding(batch_size=64, max_new_tokens=8, fields=fields), splits[name]
    if facts.targets_from:
        respond(run, handle, splits[facts.targets_from], replace(how, fields={}))
        asked = borrowed(asked, facts.targets_from, run.path)
    respond(run, handle, asked, how)
