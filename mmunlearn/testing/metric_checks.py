"""Contract of every metric, as public checks: `for check in checks(MyMetric): check.run()`.

The checks need nothing of the metric but its declarations: they build tiny rows of a model that learnt its forget set
by heart (or answers at random) and of one that did not (or answers well), with every column that an evaluation can
write, and fill settings of type `BankPath` with banks in a temporary folder and `PictureFolder` with drawn pictures;
what else they need is in the metric's `check_settings`.
"""

import doctest
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmunlearn.bank import BANK, Bank
from mmunlearn.data import PICTURES
from mmunlearn.metrics.base import CLIP_WEIGHTS, Metric, Sight, Value
from mmunlearn.records import Rows, Shard, read_rows
from mmunlearn.seeds import generator
from mmunlearn.signals import answers, of_logits
from mmunlearn.testing.check import Check
from mmunlearn.testing.picture_rows import picture_rows
from mmunlearn.testing.picture_world import world
from mmunlearn.testing.text_rows import text_rows
from mmunlearn.testing.tiny_clip import tiny_clip

N = 60  # rows a split
CLASSES = 3


def checks(component: type[Metric]) -> list[Check]:
    """All checks of a metric's class, to be run in any order."""
    named = (
        ("the example in the docstring runs", _doctest),
        ("the order of rows does not matter", _permutation),
        ("empty rows give NaN with n = 0", _empty),
        ("rows without a number give NaN with n = 0", _unscored),
        ("rows from shards give the value of the whole", _sharded),
        ("the value moves in the declared direction", _direction),
        ("unknown settings are refused", _settings),
        ("constructible from its own settings", _round_trip),
    )
    return [Check(component.name(), name, lambda run=run: run(component)) for name, run in named]  # type: ignore[misc]


# ---- rows --------------------------------------------------------------------------------------------------------
def _rows(name: str, strength: float, seed: int, *, noise: float = 1.0) -> list[dict[str, Any]]:
    """Rows of a model whose logits favour the target by `strength`; `noise` 0 and `strength` 0 give constant
    answers."""
    # Difficulty depends on the name only, so two models of one example resemble each other.
    base, own = generator(0, "contract", name), generator(seed, "contract", name, "model")
    target = base.integers(0, CLASSES, N)
    shared = base.normal(size=(N, CLASSES))
    own_noise = own.normal(size=(N, CLASSES))
    if noise:
        logits = shared * 0.5 + noise * 0.3 * own_noise
    else:
        logits = np.tile([1.0, 0.0, -1.0], (N, 1))
    logits[np.arange(N), target] += strength
    features = np.eye(CLASSES)[target] * strength + base.normal(size=(N, CLASSES)) + 0.3 * own_noise
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    right = (logits.argmax(-1) == target).astype(float)
    return [
        {
            "id": f"{name}/{i:03d}", "nll": float(-log_p[i, target[i]]), "count": 1, "logits": [logits[i].tolist()],
            "target": [int(target[i])], "features": features[i].tolist(), "value": float(right[i]),
            "feature_norm": float(np.linalg.norm(features[i])), "text": "",
            "label": ("yes", "no")[int(logits[i].argmax()) % 2],
        }
        for i in range(N)
    ]  # fmt: skip


def _cells(quality: float, leak: float) -> dict[str, Value]:
    """Cells that benchmarks rely on: test accuracy `quality`, membership attack 0.5 + leak, gaps that grow with
    leak."""
    known = {
        "test/top1": quality, "retain/top1": quality, "forget/top1": quality + leak, "forget/mia": 0.5 + leak,
        "forget/forgetting_score": leak, "forget/cka": 1 - leak, "all/agl": 1 - leak, "all/agr": 1 - leak,
        "forget/keyword_recall": leak, "forget/ape": leak, "forget/min_k": leak, "forget/ks_log_p": -20 * leak,
        "retain/rouge_l": quality, "retain/truth_ratio": quality, "retain/keyword_recall": quality,
        "retain/probability": quality,
    }  # fmt: skip
    return {name: Value(value, N) for name, value in known.items()}


def pair(component: type[Metric]) -> tuple[Sight, Sight]:
    """A worse and a better sight: of answers ("quality") or of forgetting ("forgetting"), as the metric declares."""
    made = {"text": partial(text_rows, n=N), "pictures": partial(picture_rows, n=N)}.get(component.reads, _rows)
    unseen, reference = made("unseen", 1.0, 1), made("forget", 1.0, 2)
    original = made("forget", 5.0, 3)
    fixed: dict[str, Any] = {
        "against": Rows.of(unseen), "reference": Rows.of(reference), "reference_against": Rows.of(made("unseen", 1,
        4)),
        "original": Rows.of(original), "original_against": Rows.of(made("unseen", 1.0, 5)),
        "splits": {"retain": Rows.of(made("retain", 5.0, 6)), "test": Rows.of(made("test", 1.0, 7))},
    }  # fmt: skip
    if component.measures == "forgetting":
        kept, gone = original, made("forget", 1.0, 8)
        sights = (Sight(rows=Rows.of(kept), cells=_cells(0.6, 0.4)), Sight(rows=Rows.of(gone), cells=_cells(0.6, 0.0)))
    else:
        poor, good = made("forget", 0.0, 9, noise=0.0), made("forget", 4.0, 10)
        fixed["reference"] = Rows.of(made("forget", 4.0, 11))
        sights = (Sight(rows=Rows.of(poor), cells=_cells(0.3, 0.2)), Sight(rows=Rows.of(good), cells=_cells(0.9, 0.2)))
    worse, better = (replace(sight, **fixed) for sight in sights)
    return _with_gaps(component, worse, 0.4), _with_gaps(component, better, 0.0)


def _with_gaps(component: type[Metric], sight: Sight, gap: float) -> Sight:
    """Cells that the metric's settings name and the sight lacks are gaps to the retrained model."""
    more = {name: Value(gap, N) for name in component(component.check_settings).needs_cells if name not in sight.cells}
    return replace(sight, cells={**sight.cells, **more})


@contextmanager
def _metric(component: type[Metric], sight: Sight) -> Iterator[Metric]:
    """The metric with its default settings; settings that name banks get banks of `sight`'s and of the retrained model.

    Each bank holds twelve models: the sight's logits (or the reference's) with noise of their own.
    """
    fields = component.Config.model_fields.items()
    wanted = [name for name, field in fields if BANK in field.metadata]
    given = {name: str(world()) for name, field in fields if PICTURES in field.metadata}
    if any(CLIP_WEIGHTS in field.metadata for _, field in fields):
        given |= {name: str(path) for name, path in tiny_clip()._asdict().items()}
    given |= component.check_settings
    if not wanted:
        yield component(given)
        return
    with tempfile.TemporaryDirectory() as folder:
        settings = given
        for name in wanted:
            rows = sight.reference if name == "retrained" else sight.rows
            path = Path(folder) / name
            _bank(rows if rows is not None else sight.rows, name).save(path)
            settings[name] = str(path)
        yield component(settings)


def _bank(rows: Rows, name: str, models: int = 12) -> Bank:
    rows = rows.sorted()
    noise = generator(0, "contract", "bank", name).normal(size=(models, len(rows)))
    if not len(rows) or np.isnan(rows["logits"]).any():
        phi = np.full((models, len(rows)), np.nan)
    else:
        phi = of_logits(answers(rows))["rescaled_logit"] + noise
    member = np.arange(models)[:, None] % 2 + np.zeros((1, len(rows)), dtype=int) > 0
    return Bank(rows.ids, {"rescaled_logit": phi, "confidence": 1 / (1 + np.exp(-phi))}, member)


def value_of(component: type[Metric], sight: Sight) -> Value:
    """The metric's value of a sight, with banks where it needs them."""
    with _metric(component, sight) as metric:
        return metric.reduce(sight)


# ---- checks ------------------------------------------------------------------------------------------------------
def _doctest(component: type[Metric]) -> None:
    module = sys.modules[component.__module__]
    assert component.__doc__ and ">>>" in component.__doc__, f"{component.__name__} has no example in its docstring"
    results = doctest.testmod(module, verbose=False)
    assert results.attempted > 0 and results.failed == 0, f"{results.failed} of {results.attempted} examples failed"


def _permutation(component: type[Metric]) -> None:
    sight = pair(component)[0]
    order = generator(1, "contract", "order").permutation
    turned = {
        name: getattr(sight, name).take(order(N))
        for name in ("rows", "against", "reference", "reference_against", "original", "original_against")
    }
    turned["splits"] = {name: rows.take(order(N)) for name, rows in sight.splits.items()}
    _same(value_of(component, sight), value_of(component, replace(sight, **turned)))


def _empty(component: type[Metric]) -> None:
    nothing = Rows((), {})
    bare = Sight(rows=nothing, against=nothing, reference=nothing, original=nothing)
    full = pair(component)[0]
    for sight in (bare, Sight(rows=nothing), replace(full, rows=nothing, cells={})):
        _nothing(value_of(component, sight))


def _unscored(component: type[Metric]) -> None:
    """Every number of the rows missing; what metrics of cells read, too."""
    sight = pair(component)[0]
    blank = {
        name: np.full_like(column, math.nan if column.dtype != object else None)
        for name, column in sight.rows.columns.items()
    }
    cells = {name: Value(math.nan, 0) for name in sight.cells}
    found = value_of(component, replace(sight, rows=Rows(sight.rows.ids, blank), cells=cells))
    _nothing(found)
    if not component(component.check_settings).needs_cells:
        assert found.unscored > 0, "rows left out are not counted as unscored"


def _sharded(component: type[Metric]) -> None:
    sight = pair(component)[0]
    rows = _as_dicts(sight.rows)
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(3):
            Shard(Path(folder), rank).append(rows[rank::3])
        merged = Rows.of(read_rows(Path(folder)))
    _same(value_of(component, sight), value_of(component, replace(sight, rows=merged)))


def _direction(component: type[Metric]) -> None:
    worse, better = pair(component)
    low, high = value_of(component, worse).value, value_of(component, better).value
    assert math.isfinite(low) and math.isfinite(high), f"no finite value on the pair: {low}, {high}"
    if component.better == "closer":
        assert better.reference is not None
        gold = replace(better, rows=better.reference, against=better.reference_against)
        target = value_of(component, gold).value
        assert abs(high - target) < abs(low - target), f"{high} is not closer to {target} than {low}"
    elif component.better == "higher":
        assert high > low, f"{high} is not above {low}"
    else:
        assert high < low, f"{high} is not below {low}"


def _settings(component: type[Metric]) -> None:
    from mmunlearn.errors import UserError

    try:
        component({"no_such_setting": 1})
    except UserError as error:
        assert "no_such_setting" in str(error)
    else:
        raise AssertionError("an unknown setting was accepted")


def _round_trip(component: type[Metric]) -> None:
    metric = component()
    assert component(metric.config.model_dump()).config == metric.config


def _same(one: Value, two: Value) -> None:
    assert one.n == two.n and one.unscored == two.unscored, f"{one} and {two}"
    assert math.isfinite(one.value), f"no finite value: {one}"
    assert math.isclose(one.value, two.value, rel_tol=1e-9, abs_tol=1e-12), f"{one.value} and {two.value}"


def _nothing(value: Value) -> None:
    assert math.isnan(value.value) and value.n == 0, f"{value} is not NaN with n = 0"


def _as_dicts(rows: Rows) -> list[Mapping[str, Any]]:
    return [{"id": key, **{name: column[i] for name, column in rows.columns.items()}} for i, key in enumerate(rows.ids)]
