"""Contract checks of methods (house rule B6): the same for every method, also for those of plugins.

`checks(cls)` picks a toy task by the method's modality. A method may state `toy`, settings with which it does its work
on a toy task of a few dozen examples (paper settings are made for thousands).
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch, Handle, weights_digest
from mmunlearn.methods.base import EditMethod, GradientMethod, GuardMethod, Method, Need, needed_splits
from mmunlearn.run import Run
from mmunlearn.settings import digest, merge, plain
from mmunlearn.testing.check import Check
from mmunlearn.testing.tiny import TinyHandle, TinySettings, memorise, tiny_splits

CLOSE = 1e-5  # what reordered floating-point sums may differ by


class Toy:
    """A toy task: splits and an original model that knows them by heart."""

    def __init__(self, splits: Mapping[str, Split], original: Handle):
        self.splits = splits
        self.original = original


@cache
def toy(modality: str, task: str = "classes") -> Toy:
    """The toy task of a modality. task: classes, labels, tokens (core only), text (vlm only: no pictures) or all
    (diffusion only: the text encoder is trained too)."""
    import importlib

    if modality == "diffusion":
        if task == "all":
            first = toy("diffusion")
            return Toy(first.splits, first.original.copy().adapted({"trains": "all"}))
        diffusion = importlib.import_module("mmunlearn.diffusion.toy")
        splits = diffusion.toy_splits()
        return Toy(splits, diffusion.toy_original(splits))

    if modality == "vlm":
        vlm = importlib.import_module("mmunlearn.vlm.toy")
        splits = vlm.toy_splits(text_only=task == "text")
        return Toy(splits, vlm.toy_original(splits))
    if modality == "vision":
        # The core imports no sibling: the battery for a sibling's methods finds its toy by name, as the registry does.
        vision = importlib.import_module("mmunlearn.vision.toy")
        splits = vision.toy_splits(labels=task == "labels")
        return Toy(splits, vision.toy_original(splits, labels=task == "labels"))
    settings = TinySettings(task=task)  # type: ignore[arg-type]
    splits = tiny_splits(settings)
    return Toy(splits, memorise(TinyHandle(settings), splits["train"]))


def modality_of(cls: type) -> str:
    """The sibling that a component's module belongs to, or "core"."""
    parts = cls.__module__.split(".")
    return parts[1] if len(parts) > 2 and parts[1] in {"vision", "vlm", "diffusion"} else "core"


def checks(cls: type[Method]) -> list[Check]:
    """All contract checks that apply to a method class."""
    modality = modality_of(cls)
    tests: dict[str, Callable[[], None]] = {
        "constructible": lambda: _constructible(cls),
        "unknown setting refused": lambda: _unknown_setting(cls),
        "documented": lambda: _documented(cls),
        "finite": lambda: _finite(cls, toy(modality)),
        "same seed, same weights": lambda: _deterministic(cls, toy(modality)),
        "seed matters as declared": lambda: _seed(cls, toy(modality)),
        "frozen parameters stay": lambda: _frozen(cls, toy(modality)),
        "stored model untouched": lambda: _stored(cls, toy(modality)),
        "data untouched": lambda: _data_untouched(cls, toy(modality)),
        "reads declared splits only": lambda: _declared(cls, toy(modality)),
        "order inside a batch": lambda: _order(cls, toy(modality)),
        "forgets": lambda: _forgets(cls, toy(modality)),
    }
    variants = {"vlm": ("text only", "text"), "diffusion": ("text encoder too", "all")}
    title, other = variants.get(modality, ("multi-label", "labels"))
    tests[title] = lambda: _family(cls, toy(modality, other))
    if issubclass(cls, GradientMethod):
        tests["micro-batches"] = lambda: _micro_batches(cls, toy(modality))
        tests["resumes"] = lambda: _resumes(cls, toy(modality))
    if modality == "core":
        tests["tokens"] = lambda: _family(cls, toy("core", "tokens"))
        tests["masked positions"] = lambda: _masked(cls, toy("core", "tokens"))
    return [Check(cls.name(), name, run) for name, run in tests.items()]


def toy_config(cls: type[Method], **over: Any) -> dict[str, Any]:
    """The method's settings for a toy task, with `over` laid over them."""
    return merge(getattr(cls, "toy", {}), over)


@contextmanager
def scratch(seed: int = 0, **train: Any) -> Iterator[Run]:
    """A run in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        yield Run.scratch(Path(folder), seed, **{"device": "cpu", **train})


def apply(cls: type[Method], task: Toy, *, seed: int = 0, handle: Handle | None = None, **train: Any) -> Handle:
    """Run the method once on a copy of the toy's original."""
    with scratch(seed, **train) as run:
        return cls(toy_config(cls)).apply(handle or task.original.copy(), task.splits, run)


def content(handle: Handle) -> str:
    """Hash of the weights and of what a guard keeps beside them."""
    return digest([weights_digest(handle.module), handle.beside_weights()])


def mean_nll(handle: Handle, split: Split) -> float:
    """Mean negative log-likelihood an item, in nats."""
    with torch.no_grad():
        handle.module.eval()
        scored = handle.score(handle.collate(split.examples))
    return float(scored.nll.sum() / scored.count.sum())


def _close(one: Handle, other: Handle, what: str, tolerance: float = CLOSE) -> None:
    a, b = one.module.state_dict(), other.module.state_dict()
    for name, tensor in a.items():
        difference = (tensor.double() - b[name].double()).abs().max().item() if tensor.numel() else 0.0
        scale = 1.0 + tensor.double().abs().max().item() if tensor.numel() else 1.0
        assert difference <= tolerance * scale, f"{what}: {name} differs by {difference:.2e}"


def _constructible(cls: type[Method]) -> None:
    first = cls()
    again = cls(plain(first.config))
    assert first.config == again.config
    assert first.intent in {"removal", "suppression"}
    assert all(isinstance(need, str) and need.isidentifier() for need in cls.needs)


def _unknown_setting(cls: type[Method]) -> None:
    fields = sorted(cls.Config.model_fields)
    wrong = (fields[0][:-1] + "zq") if fields else "zq"
    try:
        cls({wrong: 1})
    except UserError as error:
        assert wrong in str(error)
    else:
        raise AssertionError(f"{cls.name()} took the unknown setting {wrong!r}")


def _documented(cls: type[Method]) -> None:
    assert cls.__doc__ and cls.paper, f"{cls.name()} lacks a docstring or names no paper"
    assert issubclass(cls, (GradientMethod, EditMethod, GuardMethod))


def _finite(cls: type[Method], task: Toy) -> None:
    with scratch() as run:
        result = cls(toy_config(cls)).apply(task.original.copy(), task.splits, run)
        for event in run.events("step"):
            for name, value in event["terms"].items():
                assert value == value and abs(value) != float("inf"), f"term {name} is {value}"
    for name, tensor in result.module.state_dict().items():
        assert torch.isfinite(tensor.double()).all(), f"{name} is not finite"


def _deterministic(cls: type[Method], task: Toy) -> None:
    one, two = apply(cls, task), apply(cls, task)
    assert content(one) == content(two)


def _seed(cls: type[Method], task: Toy) -> None:
    one, two = apply(cls, task, seed=0), apply(cls, task, seed=1)
    same = content(one) == content(two)
    assert same != cls.stochastic, (
        f"stochastic is declared {cls.stochastic}, weights are {'equal' if same else 'different'}"
    )


def _frozen(cls: type[Method], task: Toy) -> None:
    if not issubclass(cls, GradientMethod) or Need.FRESH in cls.needs:
        return  # edits prove this in `apply`; a newly constructed model has other weights everywhere
    handle = task.original.copy()
    name, parameter = next(iter(handle.module.named_parameters()))
    parameter.requires_grad_(False)
    before = parameter.detach().clone()
    result = apply(cls, task, handle=handle)
    assert torch.equal(before, dict(result.module.named_parameters())[name]), f"{name} is frozen and changed"


def _stored(cls: type[Method], task: Toy) -> None:
    with tempfile.TemporaryDirectory() as folder:
        task.original.save(Path(folder) / "model")
        before = _folder_hash(Path(folder))
        handle = type(task.original).load(Path(folder) / "model")
        apply(cls, task, handle=handle)
        assert before == _folder_hash(Path(folder))


def _folder_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()


def _data_untouched(cls: type[Method], task: Toy) -> None:
    before = {name: split.fingerprint for name, split in task.splits.items()}
    apply(cls, task)
    assert before == {n: Split(s.name, s.role, s.examples).fingerprint for n, s in task.splits.items()}


class _Trap(dict):
    def __init__(self, splits: Mapping[str, Split], allowed: set[str]):
        super().__init__(splits)
        self.allowed = allowed

    def __getitem__(self, name: str) -> Split:
        assert name in self.allowed, f"split {name!r} is read and not declared"
        return super().__getitem__(name)


def _declared(cls: type[Method], task: Toy) -> None:
    method = cls(toy_config(cls))
    with scratch() as run:
        method.apply(task.original.copy(), _Trap(task.splits, set(needed_splits(method.required()))), run)


class Reversed:
    """Mixin-free wrapper that collates every batch in reverse order."""

    def __init__(self, handle: Handle):
        self.collate = handle.collate

    def __call__(self, examples: Any, view: Any = None) -> Batch:
        if view is not None:
            view = type(view)(view.seed, view.epochs[::-1].copy())
        return self.collate(list(examples)[::-1], view)


def _order(cls: type[Method], task: Toy) -> None:
    handle = task.original.copy()
    handle.collate = Reversed(handle)  # type: ignore[method-assign]
    _close(apply(cls, task), apply(cls, task, handle=handle), "reversed batches", 10 * CLOSE)


def _forgets(cls: type[Method], task: Toy) -> None:
    before = mean_nll(task.original, task.splits["forget"])
    result = apply(cls, task)
    after = mean_nll(result, task.splits["forget"])
    if Need.FORGET in cls.needs or Need.FRESH in cls.needs:
        assert after > before + 0.02, f"forget loss {before:.3f} -> {after:.3f} nats: nothing was forgotten"
    retained = mean_nll(result, task.splits["retain"])
    assert retained < after + 0.05, f"retain loss {retained:.3f} is above the forget loss {after:.3f}"


def _family(cls: type[Method], task: Toy) -> None:
    try:
        result = apply(cls, task)
    except UserError as error:
        assert cls.name() in str(error), "a refusal must name the method"
        return
    for name, tensor in result.module.state_dict().items():
        assert torch.isfinite(tensor.double()).all(), f"{name} is not finite"


def _masked(cls: type[Method], task: Toy) -> None:
    handle = task.original.copy()
    collate = handle.collate

    def perturbed(examples: Any, view: Any = None) -> Batch:
        batch = collate(examples, view)
        target, mask = batch.tensors["target"], batch.tensors["mask"]
        batch.tensors["target"] = torch.where(mask, target, torch.ones_like(target))
        return batch

    handle.collate = perturbed  # type: ignore[method-assign]
    _close(apply(cls, task), apply(cls, task, handle=handle), "masked targets")


def _micro_batches(cls: type[Method], task: Toy) -> None:
    if _has_batch_norm(task.original) and _norm(cls) == "train":
        return _micro_batches_frozen(cls, task)
    whole = apply(cls, task)
    for size in (1, 2, 5):
        _close(whole, apply(cls, task, micro_batch=size), f"micro-batches of {size}", 10 * CLOSE)
    return None


def _micro_batches_frozen(cls: type[Method], task: Toy) -> None:
    # Batch statistics depend on what lies in a forward pass; with stored statistics micro-batches must be exact.
    if "norm" not in cls.Config.model_fields:
        return
    settings = toy_config(cls, norm="frozen")
    results = []
    for size in (None, 2):
        with scratch(0, micro_batch=size) as run:
            results.append(cls(settings).apply(task.original.copy(), task.splits, run))
    _close(results[0], results[1], "micro-batches of 2", 20 * CLOSE)


def _has_batch_norm(handle: Handle) -> bool:
    return any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in handle.module.modules())


def _norm(cls: type[Method]) -> str:
    return getattr(cls(toy_config(cls)).config, "norm", "train")


class _Stop(Exception):
    pass


class _Stopping(Run):
    """A run that breaks right after its n-th checkpoint, as a killed process would."""

    stop_after = 0

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        super().save(step, state)
        if step >= self.stop_after:
            raise _Stop


def _resumes(cls: type[Method], task: Toy) -> None:
    with scratch(0, checkpoint_every=1) as run:
        whole = cls(toy_config(cls)).apply(task.original.copy(), task.splits, run)
        steps = int(json.loads((run.path / "checkpoints/LAST").read_text().partition("-")[2].lstrip("0") or "0"))
    expected = content(whole)
    for stop in sorted({1, steps // 2, steps - 1} - {0}):
        with tempfile.TemporaryDirectory() as folder:
            broken = _Stopping.scratch(Path(folder), 0, checkpoint_every=1, device="cpu")
            broken.stop_after = stop
            with suppress(_Stop):
                cls(toy_config(cls)).apply(task.original.copy(), task.splits, broken)
            run = Run.scratch(Path(folder), 0, checkpoint_every=1, device="cpu")
            resumed = cls(toy_config(cls)).apply(task.original.copy(), task.splits, run)
            assert content(resumed) == expected, f"resumed at step {stop} of {steps}: other weights"
