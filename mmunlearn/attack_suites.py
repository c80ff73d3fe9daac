"""Suites: named lists of attacks with moderate budgets, one a modality; every attack that says so is part of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmunlearn import registry
from mmunlearn.attacks.base import Attack
from mmunlearn.attacks.base_goals import GoalAttack
from mmunlearn.errors import UserError, near_miss

Entry = Mapping[str, Any]  # name, settings, and `as` where one attack stands there several times


@dataclass(frozen=True)
class Suite:
    """What a suite runs: `core`, and every attack of the modality with `suite` = its name.

    candidates: the budget that all attacks on goals share, so that they can be compared; one that knows no such setting
    keeps its own. options: laid under those of the command.
    """

    modality: str
    core: Sequence[Entry]
    candidates: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)


# Optimisers of the text and picture models' own recipes: the classifiers' (SGD .002) hardly moves a transformer.
_ADAMW = {"name": "adamw", "lr": 0.0003, "weight_decay": 0.0}
_LORA = {"r": 8, "full": ()}  # adapters alone, the projector stays
_RELEARN = {"name": "relearn", "steps": (0, 1, 4, 16, 64)}
_COARSE = ({"name": "prune", "fractions": (0.1, 0.3, 0.5, 0.7)}, {"name": "quantise", "bits": (8, 4)})

SUITES: Mapping[str, Suite] = {
    "vision": Suite("vision", ({"name": "membership"}, _RELEARN, *_COARSE)),
    "vqa": Suite(
        "vlm",
        (
            {"name": "membership"},
            {**_RELEARN, "optimiser": _ADAMW, "batch_size": 16},
            {
                **_RELEARN,
                "as": "relearn_lora",
                "optimiser": _ADAMW | {"lr": 0.003},
                "batch_size": 16,
                "lora": {"r": 8, "full": ()},
            },
            {**_RELEARN, "as": "relearn_retain", "optimiser": _ADAMW, "batch_size": 16, "data": "retain"},
            {**_RELEARN, "as": "relearn_unrelated", "optimiser": _ADAMW, "batch_size": 16, "data": "unseen"},
            *_COARSE,
        ),
        candidates=5,
        options={"answers": 64, "membership": (), "gradient_norm": False},
    ),
    "diffusion": Suite(
        "diffusion",
        ({"name": "membership"}, {**_RELEARN, "steps": (0, 4, 16, 64), "optimiser": _ADAMW}, *_COARSE),
        options={"answers": 32, "limit": 32, "membership": (), "gradient_norm": False},
    ),
}


def find(name: str, modality: str) -> Suite:
    """The suite called `name`. UserError for an unknown one, or one of another modality."""
    if name not in SUITES:
        raise UserError(f"--suite {name!r} is not known. {near_miss(name, SUITES)}")
    suite = SUITES[name]
    if suite.modality != modality:
        own = ", ".join(key for key, one in SUITES.items() if one.modality == modality) or "none"
        raise UserError(f"--suite {name}: is for {suite.modality} models, this is a {modality} one. Its own: {own}.")
    return suite


def attacks_of(name: str, modality: str) -> list[dict[str, Any]]:
    """Attacks of a suite as `attack_run` takes them: the core's, then those that declare it, by access and name."""
    suite = find(name, modality)
    declared: list[Any] = [cls for component in registry.visible("attacks", modality).values()
                if getattr(cls := component.load(), "suite", "") == name]  # fmt: skip
    core = [entry for entry in suite.core if _possible(entry, modality)]
    named = {entry["name"] for entry in core}
    others = sorted((cls for cls in declared if cls.name() not in named), key=lambda cls: (cls.access, cls.name()))
    first = [entry for entry in core if entry["name"] == "membership"]
    rest = [entry for entry in core if entry["name"] != "membership"]
    return [dict(entry) for entry in (*first, *(_entry(cls, suite) for cls in others), *rest)]


def _possible(entry: Entry, modality: str) -> bool:
    return entry["name"] in registry.visible("attacks", modality)


def _entry(cls: type[Attack], suite: Suite) -> dict[str, Any]:
    """An attack with the suite's budget, its own settings for suites over it."""
    shared = issubclass(cls, GoalAttack) and "candidates" in cls.Config.model_fields
    return {"name": cls.name(), **({"candidates": suite.candidates} if shared else {}), **cls.suite_settings}
