"""Shadow models: trained once on random halves of a pool, cached, and asked about every example of the pool.

The bank that comes out (`mmunlearn.bank`) serves LiRA, RMIA, attack-R and, with an unlearning stage after training,
U-LiRA. Sources: vision.md 4.4 (complementary pairs, so that half the models train on an example, whichever it is) and
5.1 (U-LiRA: the models are reused by all methods, only the unlearning is repeated).

    CACHE/shadows/<key>/model-003/      weights, answers and facts of one model; complete or absent
    CACHE/shadows/<key>/bank-004.safetensors    of the first four; a larger bank trains only the models beyond them
    CACHE/shadows/<key>-<method key>/           the same after unlearning
"""

import fcntl
import json
import logging
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from mmunlearn import registry
from mmunlearn.atomic import new_folder
from mmunlearn.bank import Bank
from mmunlearn.cache import cache_folder
from mmunlearn.data import Example, Role, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding, Handle, weights_digest
from mmunlearn.methods.retrain import Retrain
from mmunlearn.mini import code_digest
from mmunlearn.records import Rows, Shard, read_rows
from mmunlearn.run import Run, TrainSettings
from mmunlearn.seeds import derive, generator, uniforms
from mmunlearn.settings import Settings, digest, plain

log = logging.getLogger(__name__)


class ShadowSettings(Settings):
    """A bank's recipe. models: an even number (they come in complementary pairs). pool: splits that models train on.

    recipe: settings of method `retrain`. unlearn: a method with `name` and settings, applied to every trained model on
    a forget set of its own. Every example of the splits `candidates` is unlearned in `forget_frac` of the models that
    trained on it.
    """

    models: int = Field(8, ge=2, multiple_of=2)
    seed: int = 0
    pool: tuple[str, ...] = Field(("train", "unseen"), min_length=1)
    recipe: dict[str, Any] = Field(default_factory=dict)
    unlearn: dict[str, Any] | None = None
    candidates: tuple[str, ...] = ("forget", "unseen")
    forget_frac: float = Field(0.5, gt=0, le=1)
    batch_size: int = Field(256, ge=1)


@dataclass(frozen=True)
class Pool:
    """Examples of the pool in order, and which of them every model trains on and unlearns."""

    split: Split
    member: np.ndarray  # (models, examples)
    unlearned: np.ndarray  # (models, examples), a subset of member

    def part(self, name: str, role: Role, chosen: np.ndarray) -> Split:
        """The examples that the mask `chosen` marks."""
        return Split(name, role, tuple(e for e, wanted in zip(self.split, chosen, strict=True) if wanted))


def draw_pool(data: Mapping[str, Split], settings: ShadowSettings) -> Pool:
    """The pool and every model's sets: a pure function of the example ids, their order and the seed."""
    examples: dict[str, Example] = {}
    for name in settings.pool:
        if name not in data:
            raise UserError(f"shadows.pool: split {name!r} is not in this data. Splits: {', '.join(data)}.")
        examples |= {example.id: example for example in data[name]}
    split = Split("pool", Role.TRAIN, tuple(examples.values()))
    n = len(split)
    if n < 4:
        raise UserError(f"shadows.pool: {n} examples are too few for two halves.")
    member = np.zeros((settings.models, n), dtype=bool)
    for pair in range(settings.models // 2):
        order = generator(settings.seed, "shadow", "pair", pair).permutation(n)
        member[2 * pair, order[: n // 2]] = True
        member[2 * pair + 1, order[n // 2 :]] = True
    open_ids = {example.id for name in settings.candidates if name in data for example in data[name]}
    open_ = np.asarray([key in open_ids for key in split.ids])
    # Exactly the same number of unlearned models for every candidate: few models leave no room for luck in a fit.
    draws = uniforms(np.asarray([e.key for e in split]), derive(settings.seed, "shadow", "forget"), settings.models)
    rank = np.where(member.T, draws, np.inf).argsort(1).argsort(1).T
    count = unlearned_models(settings)
    unlearned = member & open_ & (rank < count)
    return Pool(split, member, unlearned)


def unlearned_models(settings: ShadowSettings) -> int:
    """In how many models every candidate is unlearned."""
    return max(1, round(settings.forget_frac * settings.models / 2))


def shadow_bank(
    handle: Handle, data: Mapping[str, Split], settings: ShadowSettings, train: TrainSettings | None = None
) -> Path:
    """The bank file of `settings`, trained when it is not in the cache; what is missing of a killed one is made.

    handle: gives the architecture (its weights are not used). Several processes may run this at once: each takes models
    that no other has begun.
    """
    train = (train or TrainSettings()).model_copy(update={"trackers": ()})
    pool = draw_pool(data, settings)
    bank = _Bank(handle, data, settings, train, pool)
    return bank.file(unlearned=False) if settings.unlearn is None else bank.file(unlearned=True)


class _Bank:
    """Makes what is missing of a bank, model by model."""

    def __init__(
        self, handle: Handle, data: Mapping[str, Split], settings: ShadowSettings, train: TrainSettings, pool: Pool
    ):
        self.handle, self.data, self.settings, self.train, self.pool = handle, data, settings, train, pool
        key = digest(
            [
                settings.seed, settings.pool, settings.recipe, pool.split.fingerprint,
                type(handle).__name__, plain(getattr(handle, "settings", {})),
                weights_digest(handle.fresh(0).module), code_digest(Retrain, type(handle)),
                train.model_dump(include={"micro_batch", "precision", "determinism"}),
            ]
        )  # fmt: skip
        self.folder = cache_folder("shadows") / key
        wanted = settings.unlearn
        if wanted is not None:
            name = wanted.get("name", "")
            method = registry.load("methods", name, handle.modality)
            # The number of models decides which of an example's models unlearn it.
            inner = digest([wanted, settings.models, settings.candidates, settings.forget_frac, code_digest(method)])
            self.after = cache_folder("shadows") / f"{key}-{inner}"

    def file(self, *, unlearned: bool) -> Path:
        """Path of the bank file, made when missing."""
        folder = self.after if unlearned else self.folder
        number = self.settings.models
        path = folder / f"bank-{number:03d}.safetensors"
        if path.is_file():
            log.warning("Bank of %d shadow models taken from the cache (%s).", number, folder.name)
            return path
        self._make(folder, unlearned)
        rows = [Rows.of(read_rows(folder / _name(k) / "answers")) for k in range(number)]
        place = {key: i for i, key in enumerate(self.pool.split.ids)}
        order = [place[key] for key in rows[0].ids]
        about = {"settings": plain(self.settings), "modality": self.handle.modality}
        forgotten = self.pool.unlearned[:, order] if unlearned else None
        Bank.of(rows, self.pool.member[:, order], forgotten, about).save(path)
        return path

    def _make(self, folder: Path, unlearned: bool) -> None:
        numbers = [k for k in range(self.settings.models) if not _complete(folder / _name(k))]
        if not numbers:
            return
        if not unlearned:
            _say(f"{len(numbers)} of {self.settings.models} shadow models to train, {self._estimate(len(numbers))}.")
        with _progress("unlearning shadows" if unlearned else "training shadows", len(numbers)) as step:
            # First those that nobody works on, then, waiting, those that others had begun and may have given up.
            for wait in (False, True):
                for k in numbers:
                    if _complete(folder / _name(k)):
                        continue
                    with _claim(folder / f"{_name(k)}.lock", wait=wait) as mine:
                        if mine and not _complete(folder / _name(k)):
                            self._unlearn(k, folder) if unlearned else self._train(k, folder)
                            step()

    def _train(self, k: int, folder: Path) -> None:
        run = Run.scratch(folder / f"work-{k:03d}")
        run = Run(run.path, {}, derive(self.settings.seed, "shadow", k), self.train)
        split = self.pool.part("train", Role.TRAIN, self.pool.member[k])
        recipe = {key: value for key, value in self.settings.recipe.items() if key != "name"}
        started = time.perf_counter()
        model = Retrain(recipe | {"on": "train"}).apply(self.handle.copy(), {"train": split}, run)
        self._store(model, folder / _name(k), run, time.perf_counter() - started)

    def _unlearn(self, k: int, folder: Path) -> None:
        if not _complete(self.folder / _name(k)):
            self._make(self.folder, unlearned=False)
        model = type(self.handle).load(self.folder / _name(k) / "model", self.handle.device)
        forget, member = self.pool.unlearned[k], self.pool.member[k]
        data = {
            "forget": self.pool.part("forget", Role.FORGET, forget),
            "retain": self.pool.part("retain", Role.RETAIN, member & ~forget),
            "train": self.pool.part("train", Role.TRAIN, member),
        }
        if "calibration" in self.data:
            data["calibration"] = self.data["calibration"]
        settings = dict(self.settings.unlearn or {})
        method = registry.load("methods", settings.pop("name"), self.handle.modality)(settings)
        run = Run.scratch(folder / f"work-{k:03d}")
        run = Run(run.path, {}, derive(self.settings.seed, "shadow", k, "unlearn"), self.train)
        started = time.perf_counter()
        self._store(method.apply(model, data, run), folder / _name(k), run, time.perf_counter() - started)

    def _store(self, model: Handle, folder: Path, run: Run, seconds: float) -> None:
        how = Decoding(batch_size=self.settings.batch_size)
        with new_folder(folder) as temporary:
            answers = model.respond(self.pool.split.examples, how, run.seed)
            Shard(temporary / "answers").append({"id": a.id, **a.fields} for a in answers)
            model.save(temporary / "model")
            (temporary / "facts.json").write_text(json.dumps({"seconds": round(seconds, 3)}), encoding="utf-8")
        shutil.rmtree(run.path, ignore_errors=True)

    def _estimate(self, models: int) -> str:
        """Time of training, from the fastest of three steps on a throw-away copy (the first warms up)."""
        config = Retrain({k: v for k, v in self.settings.recipe.items() if k != "name"}).config
        batch = min(config.batch_size, int(self.pool.member[0].sum()))
        copy = self.handle.copy()
        collated = copy.collate(self.pool.split.examples[:batch]).to(copy.device)
        seconds = math.inf
        for _ in range(3):
            started = time.perf_counter()
            copy.score(collated).nll.sum().backward()
            seconds = min(seconds, time.perf_counter() - started)
        steps = math.ceil(int(self.pool.member[0].sum()) / config.batch_size) * config.epochs
        return f"about {_duration(models * steps * seconds)} ({steps} steps each)"


def _name(k: int) -> str:
    return f"model-{k:03d}"


def _complete(folder: Path) -> bool:
    return (folder / "facts.json").is_file()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


@contextmanager
def _claim(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether this process may work on what `path` stands for; the system gives the claim back when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            yield False
            return
        yield True


def _say(text: str) -> None:
    from rich.console import Console

    Console(stderr=True, soft_wrap=True).print(text, highlight=False)


@contextmanager
def _progress(title: str, total: int) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda: progress.advance(task)


def run_bank(path: Path, *, models: int, unlearn: bool = False, seed: int = 0) -> Path:
    """The bank that goes with the run at `path`: its benchmark's recipe, and its own method where `unlearn`."""
    from mmunlearn.modalities import load_handle
    from mmunlearn.pipeline import load_data, make_benchmark, read_settings

    if unlearn and unlearned_models(ShadowSettings(models=models)) < 2:
        raise UserError(
            f"options.shadows: of {models} models only one unlearns any given example, and a spread needs two.\n"
            "Use 8 or more; trained models are kept."
        )
    settings = read_settings(path)
    benchmark = make_benchmark(settings)
    data = load_data(settings, benchmark)
    card = benchmark.card
    recipe = card.method("original", card.pick_table(settings.evaluate.table), settings.edition)
    seen = ("train",) if "train" in data else ("forget", "retain")
    wanted = ShadowSettings(
        models=models, seed=seed, recipe=recipe, unlearn=settings.method if unlearn else None,
        pool=(*seen, "unseen") if "unseen" in data else seen,
    )  # fmt: skip
    return shadow_bank(load_handle(settings.modality, path), data, wanted, settings.train)
