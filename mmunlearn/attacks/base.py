"""Attack: the subclass searches, the base class verifies, meters and keeps the clean figure beside the attacked one.

Kinds: `RowsAttack` works on what the model answered (membership inference), `WeightAttack` works on a copy of the
weights (relearning, pruning, quantising); those that pursue goals, `InputAttack` (prompts, pictures) and
`ReadoutAttack` (hidden states), are in mmunlearn.attacks.base_goals.
"""

import inspect
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, final

from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Batch, Decoding, Handle, Response, Scored, View
from mmunlearn.metrics.base import Sight, Value
from mmunlearn.settings import Settings, build

if TYPE_CHECKING:
    from mmunlearn.run import Run


ORIGINAL = "folder of the model before unlearning"
OriginalPath = Annotated[str, ORIGINAL]  # a setting of this type; "": the one that the attacked run started from


class Access(IntEnum):
    """What the attacker may use; each level includes the ones below it."""

    TEXT = 0  # answers (text, class) only
    IMAGE = 1  # answers to chosen pictures
    LOGITS = 2
    GRADIENTS = 3
    WEIGHTS = 4


@dataclass
class Cost:
    """What an attack spent: model queries (examples asked), gradient steps, seconds."""

    queries: int = 0
    gradient_steps: int = 0
    seconds: float = 0.0


class Attack(ABC):  # noqa: B024  (the three kinds below have the abstract verbs)
    """An attack. No logic in the constructor; settings live in the nested `Config`.

    suite: the suite that it is part of (mmunlearn.attack_suites), with the settings `suite_settings` over the suite's
    own; "" = none.
    """

    class Config(Settings):
        """Settings and budget; every field has a default."""

    access: ClassVar[Access] = Access.LOGITS
    paper: ClassVar[str] = ""
    suite: ClassVar[str] = ""
    suite_settings: ClassVar[Mapping[str, Any]] = {}
    known_failures: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: Settings | Mapping[str, Any] | None = None):
        if config is None or isinstance(config, Mapping):
            config = build(type(self).Config, config or {}, f"attack[{self.name()}]")
        self.config: Any = config

    @classmethod
    def name(cls) -> str:
        """The registered name: the stem of the file that defines the class."""
        return cls.__module__.rpartition(".")[2]

    def teaches(self) -> bool:
        """Whether, by design, it trains on the answers that it then asks for: then a rise on the control is no leak."""
        return False


class RowsAttack(Attack):
    """An attack on answers already given: a pure function of rows, so it costs no query of its own.

    `measure` gives named values with intervals; `scores` (higher = member) let the report draw curves.
    """

    needs_bank: ClassVar[bool] = False  # a bank of shadow models (`mmunlearn.bank`), named by a setting `bank`
    needs_unlearned_bank: ClassVar[bool] = False  # one whose models were unlearned with the target's method

    def uses_gradients(self) -> bool:
        """Whether it looks at the column `grad_norm` under these settings, where access to gradients is given."""
        return False

    @abstractmethod
    def measure(self, sight: Sight, seed: int) -> Mapping[str, Value]:
        """Values by name ("accuracy", "auc", "tpr_at_1pct_fpr" …); members in sight.rows, others in sight.against."""


class WeightAttack(Attack):
    """An attack that changes the weights of a copy, then lets the base class ask the changed model again."""

    access = Access.WEIGHTS
    needs: ClassVar[tuple[str, ...]] = ("forget",)  # splits the attacker holds

    def needed(self) -> tuple[str, ...]:
        """Splits the attacker holds under these settings; `needs` unless they depend on the settings."""
        return self.needs

    def parts(self, data: Mapping[str, Split], seed: int) -> Mapping[str, tuple[str, ...]]:
        """Named parts of the splits as ids, to be scored apart (what the attacker used, what it did not)."""
        return {}

    @abstractmethod
    def tamper(self, handle: Handle, data: Mapping[str, Split], run: "Run") -> Iterator[tuple[str, Handle]]:
        """Yield (label of the budget spent, tampered handle), such as ("4 steps", …); `handle` is a copy already."""

    @final
    def run(
        self,
        handle: Handle,
        data: Mapping[str, Split],
        run: "Run",
        how: Decoding | Mapping[str, Decoding],
        have: Collection[str] = (),
        ask: Mapping[str, Split] | None = None,
    ) -> Iterator[tuple[str, Cost, dict[str, list[Response]]]]:
        """Yield (budget, cost, responses by split) of every tampered model; the target's weights stay as they are.

        ask: splits that every tampered model answers (default: all of `data`). how: for all, or by split; pictures go
        to its `folder`/<`budget_folder` of the label>/<split>. Budgets in `have` are stored already: they are passed
        over without asking the model. `seconds` is the attacker's time, without ours for the responses.
        """
        copy = handle.copy()
        meter = Metered(copy, self.access)
        given = {name: _held(data, name, self.name()) for name in self.needed()}
        spent, started = 0.0, time.perf_counter()
        for label, tampered in self.tamper(meter, given, run):
            spent += time.perf_counter() - started
            cost = Cost(meter.cost.queries, meter.cost.gradient_steps, spent)
            if label in have:
                started = time.perf_counter()
                continue
            plain = tampered.handle if isinstance(tampered, Metered) else tampered
            plain.module.eval()
            yield (
                label,
                cost,
                {
                    name: plain.respond(split.examples, _placed(how, label, name), run.seed)
                    for name, split in (data if ask is None else ask).items()
                },
            )
            started = time.perf_counter()


def budget_folder(label: str) -> str:
    """A budget's label as the name of a folder.

    >>> budget_folder("0.1 pruned")
    '0.1-pruned'
    """
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", label).strip("-.") or "budget"


def _placed(how: Decoding | Mapping[str, Decoding], label: str, split: str) -> Decoding:
    own = how if isinstance(how, Decoding) else how[split]
    return own if own.folder is None else replace(own, folder=own.folder / budget_folder(label) / split)


def _held(data: Mapping[str, Split], name: str, attack: str) -> Split:
    if name not in data:
        raise UserError(f"attack {attack!r} needs split {name!r}, which is missing. Splits: {', '.join(data)}.")
    return data[name]


MARK = "#"  # between a goal's id and the number of a candidate


def renamed(goal_id: str, number: int | str) -> str:
    """The id of a candidate for a goal: ids must differ within a batch, and costs are counted by goal."""
    return f"{goal_id}{MARK}{number}"


def goal_of(key: str) -> str:
    """The goal's id in the id of a candidate."""
    return key.rpartition(MARK)[0] or key


class Metered(Handle):
    """A handle that counts queries and gradient steps and refuses what `access` does not allow."""

    def __init__(self, handle: Handle, access: Access):
        self.handle = handle
        self.access = access
        self.cost = Cost()
        self.by_goal: dict[str, Cost] = {}
        self.panel: Any = None  # who judges during a search on goals (mmunlearn.attacks.base_goals.Panel)
        self.modality = handle.modality  # type: ignore[misc]

    @property
    def inner(self) -> Any:
        """The wrapped handle, for a sibling's own verbs (from access to logits on); `spend` is told what they ask."""
        if self.access < Access.LOGITS:
            raise PermissionError("this attack did not declare access to logits")
        return self.handle

    def spend(self, ids: Sequence[str], *, queries: int = 0, gradient_steps: int = 0) -> None:
        """Count so many queries for each of `ids` (an example's id, or one by `renamed`), and so many gradient steps
        of the whole batch, which every goal in it has taken."""
        if gradient_steps and self.access < Access.GRADIENTS:
            raise PermissionError("this attack did not declare access to gradients or weights")
        self.cost.queries += queries * len(ids)
        self.cost.gradient_steps += gradient_steps
        for key in ids:
            own = self.by_goal.setdefault(goal_of(key), Cost())
            own.queries += queries
        for goal in {goal_of(key) for key in ids}:
            self.by_goal[goal].gradient_steps += gradient_steps

    @property
    def module(self):  # type: ignore[override]
        """The weights, for attacks that may touch them or their gradients."""
        if self.access < Access.GRADIENTS:
            raise PermissionError("this attack did not declare access to gradients or weights")
        return self.handle.module

    @property
    def device(self):
        """Where the weights lie."""
        return self.handle.device

    def collate(self, examples: Sequence[Example], view: View | None = None) -> Batch:
        """As the wrapped handle; costs nothing."""
        return self.handle.collate(examples, view)

    def score(self, batch: Batch) -> Scored:
        """Counts a query an example, and a gradient step where a graph is recorded."""
        import torch

        if self.access < Access.LOGITS:
            raise PermissionError("this attack did not declare access to logits")
        self.spend(batch.ids, queries=1)
        if self.access < Access.GRADIENTS:
            with torch.no_grad():
                return self.handle.score(batch)
        scored = self.handle.score(batch)
        if scored.nll.requires_grad:
            self.spend(batch.ids, gradient_steps=1)
        return scored

    def respond(self, examples: Sequence[Example], how: Decoding, seed: int) -> list[Response]:
        """Counts a query an example."""
        self.spend([e.id for e in examples], queries=1)
        return self.handle.respond(examples, how, seed)

    def random_target(self, example: Example, generator: Any, *, wrong_only: bool = False) -> Any:
        """As the wrapped handle."""
        return self.handle.random_target(example, generator, wrong_only=wrong_only)

    def trainable(self, role: str = "default"):
        """As the wrapped handle, where access allows."""
        _ = self.module
        return self.handle.trainable(role)

    def fresh(self, seed: int):
        """A new model of the same kind, not metered."""
        return self.handle.fresh(seed)

    def copy(self) -> "Metered":
        """A metered copy that shares this meter's count."""
        return self._metered(self.handle.copy())

    def adapted(self, changes: Mapping[str, Any]) -> "Metered":
        """The wrapped handle's model under changed settings, on the same meter, where access allows."""
        _ = self.module
        return self._metered(self.handle.adapted(changes))

    def merged(self) -> "Metered":
        """The wrapped handle's model without adapters, on the same meter, where access allows."""
        _ = self.module
        return self._metered(self.handle.merged())

    def _metered(self, handle: Handle) -> "Metered":
        twin = Metered(handle, self.access)
        twin.cost, twin.by_goal, twin.panel = self.cost, self.by_goal, self.panel
        return twin

    def save(self, path: Any) -> None:
        """As the wrapped handle, where access allows."""
        _ = self.module
        self.handle.save(path)

    @classmethod
    def load(cls, path: Any, device: Any = "cpu") -> "Metered":
        """Not a kind of model of its own."""
        raise TypeError("load the wrapped handle's class instead")


def is_concrete(candidate: object) -> bool:
    """Whether `candidate` is an attack class that can be constructed."""
    return inspect.isclass(candidate) and issubclass(candidate, Attack) and not inspect.isabstract(candidate)
