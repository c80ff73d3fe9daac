"""One run from settings to results: start model → method → responses → verdicts → cells, each stage resumable."""

import logging
import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from mmunlearn import registry
from mmunlearn.acceleration import accelerator, on_cpu
from mmunlearn.atomic import new_folder, write_json
from mmunlearn.benchmark import Benchmark, resolve_root
from mmunlearn.borrowed_targets import borrowed
from mmunlearn.cards import Card, Edition, EvaluationPlan
from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.evaluate import Comparison, Place, reduce, respond
from mmunlearn.flags import flags_of
from mmunlearn.goal_evaluation import pursue_all
from mmunlearn.handle import Decoding, Handle, weights_digest
from mmunlearn.manifest import manifest
from mmunlearn.methods.base import SPLIT_NEEDS, needed_splits
from mmunlearn.metrics.base import Value
from mmunlearn.mini import code_digest
from mmunlearn.modalities import handle_class, load_handle
from mmunlearn.model_cache import fetch_model, store_model
from mmunlearn.run import Run, TrainSettings
from mmunlearn.settings import Settings, build, digest, plain

log = logging.getLogger(__name__)


class EvaluateSettings(Settings):
    """What is measured after the method. table: of the card. limit: at most that many examples a split (0: all).
    decoding: laid over the card's words for each split (max_new_tokens, temperature, a sibling's fields). original: run
    whose answers are the targets of splits with `targets_from` (default: the start's, or this run's own).
    judge_backend: who answers for every model judge, in place of the card's backend ({kind: chat|server, …})."""

    table: str | None = None
    limit: int = Field(0, ge=0)
    batch_size: int = Field(256, ge=1)
    decoding: dict[str, Any] = Field(default_factory=dict)
    original: str | None = None
    judge_backend: dict[str, Any] = Field(default_factory=dict)
    splits: tuple[str, ...] = ()  # further splits to respond to, for attacks and plots


class RunSettings(Settings):
    """Everything that identifies a run; stored as config.yaml.

    start: folder of the model to unlearn (a run or a saved model); None: newly initialised weights.
    request: of the table, whose settings lie in `benchmark` already. earlier: requests that the start has been through.
    attack: an attack on goals that is run on the model, with its settings; its cells are called attack/….
    """

    modality: Literal["vision", "vlm", "diffusion", "tiny"] = "vision"
    benchmark: dict[str, Any]
    edition: Edition = "mini"
    root: str | None = None
    row: str = ""
    # Left out where they say nothing, so that runs of tables without requests are what they always were.
    request: str = Field("", exclude_if=lambda value: not value)
    earlier: tuple[str, ...] = Field((), exclude_if=lambda value: not value)
    attack: dict[str, Any] = Field(default_factory=dict, exclude_if=lambda value: not value)
    seed: int = 0
    start: str | None = None
    model: dict[str, Any] = Field(default_factory=dict)
    method: dict[str, Any]
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()


def make_benchmark(settings: RunSettings) -> Benchmark:
    """The benchmark of a run, with its settings bound."""
    content = dict(settings.benchmark)
    if "name" not in content:
        raise UserError("benchmark.name: is required and missing. Example: benchmark.name=mufac")
    return registry.load("benchmarks", content["name"], settings.modality)(content)


def make_method(settings: RunSettings) -> Any:
    """The method of a run, with its settings bound."""
    content = dict(settings.method)
    if "name" not in content:
        raise UserError("method.name: is required and missing. Example: method.name=scrub")
    name = content.pop("name")
    return registry.load("methods", name, settings.modality)(content)


def load_data(settings: RunSettings, benchmark: Benchmark) -> Mapping[str, Split]:
    """The run's splits; `evaluate.limit` does not touch them (it limits responses only)."""
    root = resolve_root(benchmark, settings.edition, Path(settings.root) if settings.root else None)
    return {**benchmark.splits(root, settings.edition), **benchmark.more_splits()}


def start_handle(settings: RunSettings, benchmark: Benchmark, run: Path) -> Handle:
    """The model that the method receives; a `start` that begins with ".." is taken from the run's own folder."""
    if settings.start is not None:
        start = Path(settings.start)
        handle = load_handle(settings.modality, (run / start).resolve() if start.parts[:1] == ("..",) else start)
        return handle.adapted(settings.model)
    model = benchmark.model(settings.edition) | settings.model
    return handle_class(settings.modality)(model, settings.seed)


def execute(
    settings: RunSettings,
    path: Path,
    *,
    fresh: bool = False,
    compare: Comparison | None = None,
    judge_backend: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Do what is missing of the run at `path` and return its results (also written to results.json).

    judge_backend: grades in place of the settings' own, without being part of the run's identity.
    """
    benchmark, method = make_benchmark(settings), make_method(settings)
    table = benchmark.card.pick_table(settings.evaluate.table)
    identity, settings = settings, _with_backend(settings, judge_backend)
    for plan in run_plans(settings, benchmark):  # a judge that cannot work is said before hours are spent
        registry.load("judges", plan.judge_name, settings.modality)(plan.judge_settings).ready()
    place = _place(settings.train)
    # Data and start model are read before the run's folder exists, so that broken ones leave nothing behind.
    data, start = load_data(settings, benchmark), start_handle(settings, benchmark, path)
    with Run.open(path, identity, fresh=fresh, main=place.main) as run:
        _barrier(place)  # the main process has made the folder
        handle = _method_stage(run, settings, method, start, data, place)
        _respond_stage(run, settings, benchmark.card, benchmark.plans(table), handle, data, place)
        if place.main:
            _goals_stage(run, settings, benchmark, handle, data)
        _barrier(place)
        if not place.main:
            return {}
        if settings.attack:
            from mmunlearn.attack_stage import attack_own

            attack_own(run, settings, benchmark.card, handle, data)
        return _results(run, settings, benchmark, data, compare or Comparison())


def _place(train: TrainSettings) -> Place:
    from accelerate import PartialState

    state = PartialState(cpu=on_cpu(train))
    return Place(state.process_index, state.num_processes)


def _method_stage(
    run: Run, settings: RunSettings, method: Any, start: Handle, data: Mapping[str, Split], place: Place
) -> Handle:
    needed = [name for name in _all_needed(method) if name in data]
    inputs = digest(
        [
            plain(settings.method),
            settings.seed,
            plain(start.settings),
            weights_digest(start.module),
            [data[n].fingerprint for n in needed],
        ]
    )
    if run.done("method", inputs) and (run.path / "model").is_dir():
        log.info("%s: method is done already", run.path)
        return load_handle(settings.modality, run.path / "model", _device(run))
    key = digest([inputs, code_digest(type(method), type(start)), plain(settings.train.model_dump(include=_NUMERIC))])
    shared = settings.method["name"] == "retrain"  # originals and retrained models serve many runs
    facts = fetch_model(key, run.path / "model") if shared and place.main and place.world == 1 else None
    if facts is not None:
        log.warning("%s: taken from the cache (trained before in %.0f s)", run.path.name, facts["seconds"])
        run.event("cache_hit", model=key)
    else:
        facts = _apply(run, method, start, data, place)
        if shared and place.main:
            store_model(key, run.path / "model", facts)
    if place.main:
        run.finish("method", inputs, **facts)
        run.drop_checkpoints()
    _barrier(place)
    return load_handle(settings.modality, run.path / "model", _device(run))


def _all_needed(method: Any) -> list[str]:
    """Splits whose contents decide the method's result; those of SPLIT_NEEDS always, as older runs recorded them."""
    return needed_splits(method.required() | frozenset(SPLIT_NEEDS))


_NUMERIC = {"micro_batch", "precision", "determinism"}  # engine settings that can change a weight's last bits


def _apply(run: Run, method: Any, start: Handle, data: Mapping[str, Split], place: Place) -> dict[str, Any]:
    started = time.perf_counter()
    device = accelerator(run).device
    start.module.to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    before, beside = weights_digest(start.module), start.beside_weights()
    result = method.apply(start, data, run)
    seconds = time.perf_counter() - started
    resumed = run.events("resumed")  # each says what the interrupted processes before it had spent
    earlier = resumed[-1]["seconds"] if resumed else 0.0
    # A guard leaves the weights and changes what stands beside them.
    unchanged = weights_digest(result.module) == before and result.beside_weights() == beside
    facts = {
        "seconds": round(seconds + earlier, 3), "peak_bytes": _peak_bytes(device), "weights_unchanged": unchanged,
    }  # fmt: skip
    if place.main:
        with new_folder(run.path / "model") as temporary:
            result.save(temporary)
    _barrier(place)
    return facts


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(usage if sys.platform == "darwin" else usage * 1024)


def _device(run: Run) -> str:
    return str(accelerator(run).device)


def _barrier(place: Place) -> None:
    if place.world > 1:
        torch.distributed.barrier()


def wanted_splits(plans: tuple[EvaluationPlan, ...], settings: RunSettings) -> list[str]:
    """Splits whose responses the plans and the settings ask for, in order."""
    # Attacks on goals ask their split themselves.
    names = [name for plan in plans for name in (plan.split, plan.against) if name and not plan.goals]
    return list(dict.fromkeys([*names, *settings.evaluate.splits]))


def limited(split: Split, limit: int) -> Split:
    """The first `limit` examples (0: all)."""
    return split.subset(range(min(limit, len(split)))) if limit else split


def decoding(settings: RunSettings, card: Card, split: str) -> Decoding:
    """How the responses to a split are made: the card's words for it, the run's over them."""
    facts = card.splits.get(split)
    content = dict(facts.decoding) if facts else {}
    content |= card.editions[settings.edition].decoding | settings.evaluate.decoding
    known = {key: content.pop(key) for key in ("max_new_tokens", "temperature") if key in content}
    return Decoding(batch_size=settings.evaluate.batch_size, fields=content, **known)


def _respond_stage(
    run: Run,
    settings: RunSettings,
    card: Card,
    plans: tuple[EvaluationPlan, ...],
    handle: Handle,
    data: Mapping[str, Split],
    place: Place,
) -> None:
    for name in wanted_splits(plans, settings):
        if name not in data:
            raise UserError(f"evaluate: split {name!r} is not in this data. Splits: {', '.join(data)}.")
        split = limited(data[name], settings.evaluate.limit)
        source = card.splits[name].targets_from if name in card.splits else ""
        if source:
            folder = original_run(run.path, settings)
            if folder.resolve() == run.path.resolve():
                asked = limited(data[source], settings.evaluate.limit)
                respond(run, handle, asked, decoding(settings, card, source), place)
            split = borrowed(split, source, folder)
        respond(run, handle, split, decoding(settings, card, name), place)


def _goals_stage(
    run: Run, settings: RunSettings, benchmark: Benchmark, handle: Handle, data: Mapping[str, Split]
) -> None:
    """Attacks on goals that the plans ask for."""
    seen = {name: limited(split, settings.evaluate.limit) for name, split in data.items()}
    plans = run_plans(settings, benchmark)
    pursue_all(run, plans, handle, seen, lambda name: decoding(settings, benchmark.card, name), settings.modality)


def original_run(path: Path, settings: RunSettings) -> Path:
    """Folder of the original model's run, as seen from the run at `path` (itself, where it starts from nothing)."""
    told = settings.evaluate.original or settings.start
    if told is None:
        return path
    return (path / told).resolve() if Path(told).parts[:1] == ("..",) else Path(told)


def _with_backend(settings: RunSettings, backend: Mapping[str, Any] | None) -> RunSettings:
    if not backend:
        return settings
    return settings.model_copy(
        update={"evaluate": settings.evaluate.model_copy(update={"judge_backend": dict(backend)})}
    )


def run_plans(settings: RunSettings, benchmark: Benchmark) -> list[EvaluationPlan]:
    """What the run measures: its benchmark's plans with the data's folder filled in, each model judge with the run's
    backend where it names one. Whoever makes a judge or a metric of a run takes it from here."""
    table = benchmark.card.pick_table(settings.evaluate.table)
    plans = [plan.at(settings.root) for plan in benchmark.plans(table)]
    return [plan.with_backend(settings.evaluate.judge_backend) for plan in plans]


def _results(
    run: Run, settings: RunSettings, benchmark: Benchmark, data: Mapping[str, Split], compare: Comparison
) -> dict[str, Any]:
    card = benchmark.card
    table = card.pick_table(settings.evaluate.table)
    seen = {name: limited(split, settings.evaluate.limit) for name, split in data.items()}
    cells = reduce(run, run_plans(settings, benchmark), seen, settings.modality, compare, _gone(settings, card, table))
    if settings.attack:
        from mmunlearn.attack_cells import attack_cells, goals_won

        cells = {**cells, **attack_cells(run.path, settings.attack["name"])}
    facts = run.stage_facts("method")
    results = {
        "schema": 1, "benchmark": card.name, "edition": settings.edition, "card_version": card.version,
        "table": table, "row": settings.row or settings.method["name"], "method": settings.method["name"],
        "seed": settings.seed, "limit": settings.evaluate.limit,
        "cells": {name: cell_json(value) for name, value in cells.items()},
        "flags": flags_of(run, facts, compare, settings.method["name"], attacked=bool(settings.attack)),
        "cost": {
            "seconds": facts.get("seconds"), "peak_bytes": facts.get("peak_bytes"), "stored_bytes": run.size_bytes(),
        },
    }  # fmt: skip
    if settings.attack:
        results["won"] = goals_won(run.path, settings.attack["name"])
    if settings.request:
        results |= {"request": settings.request, "earlier": list(settings.earlier)}
    if settings.evaluate.judge_backend:
        results["judge_backend"] = plain(settings.evaluate.judge_backend)
    write_json(run.path / "results.json", results)
    write_json(run.path / "manifest.json", manifest(run, settings, card, seen))
    return results


def _gone(settings: RunSettings, card: Card, table: str) -> Sequence[Mapping[str, Any]]:
    """Settings of each request that the model has been through; the run's own settings of the benchmark where its
    request is in no table."""
    requests = card.tables[table].requests
    named = [requests[name] for name in (*settings.earlier, settings.request) if name in requests]
    return named or [{key: value for key, value in settings.benchmark.items() if key != "name"}]


def cell_json(value: Value) -> dict[str, Any]:
    """A cell as JSON: what is no finite number becomes null; `note` only where there is one."""
    number = float(value.value) if math.isfinite(value.value) else None
    stderr = float(value.stderr) if value.stderr is not None and math.isfinite(value.stderr) else None
    cell = {"value": number, "n": int(value.n), "stderr": stderr, "unscored": int(value.unscored), "flag": None}
    if value.low is not None and value.high is not None and math.isfinite(value.low + value.high):
        cell |= {"low": float(value.low), "high": float(value.high)}
    return cell | {"note": value.note} if value.note else cell


def rescore(path: Path, compare: Comparison, data: Mapping[str, Split] | None = None) -> dict[str, Any]:
    """Reduce a finished run again, now that the runs it is compared with exist; no model is loaded.

    data: the run's splits, where the caller has them already.
    """
    settings = read_settings(path)
    benchmark = make_benchmark(settings)
    with Run.open(path, settings) as run:
        return _results(run, settings, benchmark, data or load_data(settings, benchmark), compare)


def read_settings(path: Path) -> RunSettings:
    """Settings of the run stored at `path`."""
    return build(RunSettings, Run.read(path), str(path / "config.yaml"))
