"""Contract checks of attacks (house rule B6): the same for every attack, also for those of plugins.

`checks(cls)` picks a toy task by the attack's modality. An attack may state `toy`, settings with which it works on a
toy task of a few dozen examples; settings of type `BankPath` are filled with a bank of tiny shadow models.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from mmunlearn.attack_stage import AttackOptions, Stage, run_stage
from mmunlearn.attack_target import Target
from mmunlearn.attacks.base import Access, Attack, Metered, RowsAttack, WeightAttack
from mmunlearn.attacks.base_goals import AnswerAttack, GoalAttack, InputAttack, ReadoutAttack
from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import weights_digest
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.records import Rows
from mmunlearn.run import Run, TrainSettings
from mmunlearn.settings import plain
from mmunlearn.testing.attack_toys import HOW, make, task_of
from mmunlearn.testing.check import Check
from mmunlearn.testing.counted import Counted
from mmunlearn.testing.goal_attack_checks import INPUT, READOUT
from mmunlearn.testing.method_checks import Toy, modality_of, toy


def checks(cls: type[Attack]) -> list[Check]:
    """All contract checks that apply to an attack class."""
    tests: dict[str, Callable[[], None]] = {
        "constructible": lambda: _constructible(cls),
        "unknown setting refused": lambda: _unknown_setting(cls),
        "documented": lambda: _documented(cls),
        "access enforced": lambda: _access(cls),
    }
    kinds: tuple[tuple[type[Attack], Mapping[str, Callable[[type[Any]], None]]], ...] = (
        (WeightAttack, _WEIGHT), (RowsAttack, _ROWS), (InputAttack, INPUT), (AnswerAttack, INPUT),
        (ReadoutAttack, READOUT),
    )  # fmt: skip
    for kind, own in kinds:
        if issubclass(cls, kind):
            tests |= {name: partial(check, cls) for name, check in own.items()}
    return [Check(cls.name(), name, run) for name, run in tests.items()]


# ---- every attack --------------------------------------------------------------------------------------------------
def _constructible(cls: type[Attack]) -> None:
    first = cls()
    assert first.config == cls(plain(first.config)).config
    assert isinstance(cls.access, Access)


def _unknown_setting(cls: type[Attack]) -> None:
    fields = sorted(cls.Config.model_fields)
    wrong = (fields[0][:-1] + "zq") if fields else "zq"
    try:
        cls({wrong: 1})
    except UserError as error:
        assert wrong in str(error)
    else:
        raise AssertionError(f"{cls.name()} took the unknown setting {wrong!r}")


def _documented(cls: type[Attack]) -> None:
    assert cls.__doc__ and cls.paper, f"{cls.name()} lacks a docstring or names no paper"
    assert issubclass(cls, (RowsAttack, WeightAttack, GoalAttack))


def _access(cls: type[Attack]) -> None:
    """A handle metered at the declared access gives what lies below it and refuses what lies above."""
    task = task_of(cls)
    meter = Metered(task.original.copy(), cls.access)
    batch = meter.collate(task.splits["forget"].examples)
    _raises_above(cls.access, Access.LOGITS, lambda: meter.score(batch))
    _raises_above(cls.access, Access.GRADIENTS, lambda: meter.module)
    _raises_above(cls.access, Access.GRADIENTS, lambda: list(meter.trainable()))
    if cls.access >= Access.LOGITS:
        assert meter.score(batch).nll.requires_grad == (cls.access >= Access.GRADIENTS)


def _raises_above(declared: Access, needed: Access, use: Callable[[], Any]) -> None:
    try:
        use()
    except PermissionError:
        assert declared < needed, f"{declared.name} is declared and {needed.name} refused"
    else:
        assert declared >= needed, f"{declared.name} is declared and {needed.name} allowed"


# ---- attacks on weights --------------------------------------------------------------------------------------------
@contextmanager
def _scratch(seed: int = 0) -> Iterator[Run]:
    with tempfile.TemporaryDirectory() as folder:
        yield Run.scratch(Path(folder), seed, device="cpu")


def _splits(attack: WeightAttack, task: Toy) -> dict[str, Split]:
    return {name: task.splits[name] for name in dict.fromkeys((*attack.needed(), "forget", "test"))}


def _tampered(cls: type[WeightAttack], seed: int = 0) -> list[tuple[str, Any, dict[str, Any]]]:
    task, attack = task_of(cls), make(cls)
    with _scratch(seed) as run:
        return list(attack.run(task.original.copy(), _splits(attack, task), run, HOW))


def _weight_target(cls: type[WeightAttack]) -> None:
    task, attack = task_of(cls), make(cls)
    handle = task.original.copy()
    before, data = weights_digest(handle.module), {n: s.fingerprint for n, s in task.splits.items()}
    with _scratch() as run:
        budgets = [label for label, _, _ in attack.run(handle, _splits(attack, task), run, HOW)]
        assert not (run.path / "checkpoints").exists(), "the attack wrote checkpoints into the target's run"
    assert before == weights_digest(handle.module), "the target's weights changed"
    assert data == {n: Split(s.name, s.role, s.examples).fingerprint for n, s in task.splits.items()}
    assert budgets and len(set(budgets)) == len(budgets), f"budgets {budgets} are empty or not distinct"
    assert all(p.grad is None for p in handle.module.parameters()), "gradients are left on the target"


def _weight_cost(cls: type[WeightAttack]) -> None:
    """Queries and gradient steps that a meter of our own counts on the copy equal the reported ones and never fall."""
    task, attack = task_of(cls), make(cls)
    counted = Counted(task.original.copy())
    counts: list[tuple[int, int]] = []
    with _scratch() as run:
        for _, cost, _ in attack.run(counted, _splits(attack, task), run, HOW):
            counts.append((cost.queries, cost.gradient_steps))
            assert (counted.log["queries"], counted.log["steps"]) == counts[-1], "cost is not what was used"
            assert cost.seconds >= 0
            counted.log["answers"] = 0
    assert counts == sorted(counts), "a later budget costs less"


def _weight_reproducible(cls: type[WeightAttack]) -> None:
    one, two = _tampered(cls), _tampered(cls)
    assert [label for label, _, _ in one] == [label for label, _, _ in two]
    assert [answers for _, _, answers in one] == [answers for _, _, answers in two], "the same seed, other answers"


def _weight_resumable(cls: type[WeightAttack]) -> None:
    """Without the budgets that are stored, the others come out equal."""
    task, attack, whole = task_of(cls), make(cls), _tampered(cls)
    stored = {label for label, _, _ in whole[:-1]}
    with _scratch() as run:
        rest = list(attack.run(task.original.copy(), _splits(attack, task), run, HOW, have=stored))
    assert [whole[-1][0]] == [label for label, _, _ in rest]
    assert whole[-1][2] == rest[0][2], f"{whole[-1][0]} differs after a resume"


def _weight_beside_clean(cls: type[WeightAttack]) -> None:
    """Through the stage: the clean figure stands beside every attacked one and is the untouched model's."""
    task = task_of(cls)
    with tempfile.TemporaryDirectory() as folder:
        target = Target(
            Path(folder), task.original.copy(), task.splits, task.original.modality, 0, TrainSettings(device="cpu")
        )
        options = AttackOptions(splits=("forget", "test"), membership=())
        with Run.scratch(Path(folder), 0, device="cpu") as run:
            results = run_stage(Stage(make(cls), cls.name(), options), target, run)
    answers = task.original.respond(task.splits["forget"].examples, HOW, 0)
    clean = np.mean([np.argmax(a.fields["logits"][0]) == a.fields["target"][0] for a in answers])
    cell = results["cells"][f"{cls.name()}/forget_top1"]
    assert clean == cell["clean"], f"clean is {cell['clean']}, the untouched model has {clean}"
    assert results["cost"]["gradient_steps"] == max(p["cost"]["gradient_steps"] for p in results["curve"])


def _weight_reaches_nothing_else(cls: type[WeightAttack]) -> None:
    """The attack reads no split that it does not declare."""
    task, attack = task_of(cls), make(cls)
    asked: list[str] = []

    class Watched(dict[str, Split]):
        def __getitem__(self, name: str) -> Split:
            asked.append(name)
            return super().__getitem__(name)

    with _scratch() as run:
        held = Watched({name: task.splits[name] for name in attack.needed()})
        for _ in attack.tamper(Metered(task.original.copy(), cls.access), held, run):
            pass
    assert set(asked) <= set(attack.needed()), f"reads {sorted(set(asked) - set(attack.needed()))} undeclared"


_WEIGHT: Mapping[str, Callable[[type[Any]], None]] = {
    "target untouched": _weight_target,
    "cost is the metered cost": _weight_cost,
    "reproducible by seed": _weight_reproducible,
    "resumable by budget": _weight_resumable,
    "clean figure beside": _weight_beside_clean,
    "reads declared splits only": _weight_reaches_nothing_else,
}


# ---- attacks on answers --------------------------------------------------------------------------------------------
@cache
def _rows(modality: str) -> tuple[Rows, Rows]:
    """Answers of the toy's original, which knows its members by heart, to members and to unseen examples."""
    task = toy(modality)
    made = []
    for name in ("train", "unseen"):
        answers = task.original.respond(task.splits[name].examples, HOW, 0)
        made.append(Rows.of([{"id": a.id, **a.fields} for a in answers]))
    return made[0], made[1]


def _measured(cls: type[RowsAttack], members: Rows, others: Rows, seed: int = 0) -> Mapping[str, Value]:
    return make(cls).measure(Sight(rows=members, against=others), seed)


def _rows_untouched(cls: type[RowsAttack]) -> None:
    members, others = _rows(modality_of(cls))
    before = [{k: v.copy() for k, v in rows.columns.items()} for rows in (members, others)]
    values = _measured(cls, members, others)
    assert values, "the attack measured nothing"
    for rows, columns in zip((members, others), before, strict=True):
        assert all(np.array_equal(columns[k], v) for k, v in rows.columns.items()), "the rows changed"


def _rows_reproducible(cls: type[RowsAttack]) -> None:
    members, others = _rows(modality_of(cls))
    assert _text(_measured(cls, members, others)) == _text(_measured(cls, members, others))


def _text(values: Mapping[str, Value]) -> str:
    return repr({name: tuple(value) for name, value in values.items()})  # NaN equals NaN as text


def _rows_order(cls: type[RowsAttack]) -> None:
    """The order in which rows arrive does not matter beyond rounding."""
    members, others = _rows(modality_of(cls))
    flipped = [rows.take(np.arange(len(rows))[::-1]) for rows in (members, others)]
    one, two = _measured(cls, members, others), _measured(cls, flipped[0], flipped[1])
    for name, value in one.items():
        same = value.value == two[name].value or abs(value.value - two[name].value) < 1e-9
        assert same or (value.value != value.value and two[name].value != two[name].value), f"{name} depends on order"


def _rows_beats_guessing(cls: type[RowsAttack]) -> None:
    """On a model that knows its members by heart the attack does better than guessing, and not when sides are equal."""
    members, others = _rows(modality_of(cls))
    values = _measured(cls, members, others)
    name = next(n for n in ("auc", "accuracy", *values) if n in values)
    assert values[name].value >= 0.5, f"{name} is {values[name].value:.3f} on a model that memorised its members"


def _rows_finite(cls: type[RowsAttack]) -> None:
    members, others = _rows(modality_of(cls))
    for name, value in _measured(cls, members, others).items():
        assert isinstance(value, Value), f"{name} is a {type(value).__name__}"
        assert value.n > 0 or value.value != value.value, f"{name} has a value and counts no row"
        assert value.value != value.value or np.isfinite(value.value), f"{name} is infinite"


def _rows_empty(cls: type[RowsAttack]) -> None:
    """Without rows the values are NaN with n = 0, never an exception or a number."""
    members, others = _rows(modality_of(cls))
    for name, value in _measured(cls, members.take([]), others.take([])).items():
        assert value.n == 0 and value.value != value.value, f"{name} is {value.value} of n = {value.n} without rows"


_ROWS: Mapping[str, Callable[[type[Any]], None]] = {
    "rows untouched": _rows_untouched,
    "reproducible by seed": _rows_reproducible,
    "order of rows": _rows_order,
    "not worse than guessing": _rows_beats_guessing,
    "finite": _rows_finite,
    "empty rows": _rows_empty,
}
