"""Method: one verb, `apply`, with three ways to fulfil it: gradients, an edit of weights, a guard at inference."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, ClassVar, Literal, final

import torch

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle, weights_digest
from mmunlearn.phases import NormMode, Optimiser, Phase, Step, Stream, Terms
from mmunlearn.phases import Term as Term  # methods import their vocabulary from here
from mmunlearn.settings import Settings, build, merge, plain

if TYPE_CHECKING:
    from mmunlearn.run import Run


class Need(StrEnum):
    """What a method must be given; the values that name splits are keys of `data`.

    A method's `needs` may also hold the plain name of any other split (a sibling's "refusal" or "pd").
    """

    FORGET = "forget"
    RETAIN = "retain"
    TRAIN = "train"  # forget and retain together, as the original saw them
    CALIBRATION = "calibration"  # pictures never trained on that a method may look at (rewinding, stopping)
    REFERENCE = "reference"  # outputs of the original model
    LOGITS = "logits"
    FRESH = "fresh"  # newly initialised weights


SPLIT_NEEDS = (Need.FORGET, Need.RETAIN, Need.TRAIN, Need.CALIBRATION)
OTHER_NEEDS = (Need.REFERENCE, Need.LOGITS, Need.FRESH)


def needed_splits(needs: frozenset[str]) -> list[str]:
    """Names of the splits among `needs`: those of SPLIT_NEEDS first, then a sibling's own (refusal, pd, siu)."""
    own = sorted(str(need) for need in needs if need not in SPLIT_NEEDS and need not in OTHER_NEEDS)
    return [str(need) for need in SPLIT_NEEDS if need in needs] + own


class Declared(Mapping[str, Split]):
    """The splits a method declared; reading another one is an error of the method, not of the user."""

    def __init__(self, data: Mapping[str, Split], needs: frozenset[str]):
        self._data = data
        self._allowed = needed_splits(needs)

    def __getitem__(self, name: str) -> Split:
        if name not in self._allowed:
            raise LookupError(f"the method reads split {name!r} without declaring it in `needs`")
        if name not in self._data:
            raise UserError(f"split {name!r} is needed by this method and missing. Splits: {', '.join(self._data)}.")
        return self._data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(name for name in self._allowed if name in self._data)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Method(ABC):
    """An unlearning method. No logic in the constructor; hyper-parameters live in the nested `Config`."""

    class Config(Settings):
        """Hyper-parameters; every field has a default."""

    needs: ClassVar[frozenset[str]] = frozenset()
    intent: ClassVar[Literal["removal", "suppression"]] = "removal"
    paper: ClassVar[str] = ""
    stochastic: ClassVar[bool] = True  # another seed gives other weights
    toy: ClassVar[Mapping[str, Any]] = {}  # settings that do the work on a toy task of a few dozen examples
    known_failures: ClassVar[Mapping[str, str]] = {}  # contract check -> reason (strict)

    def __init__(self, config: Settings | Mapping[str, Any] | None = None):
        if config is None or isinstance(config, Mapping):
            # Merged first: one field of a nested default (optimiser.lr) leaves the others as the method has them.
            given = merge(self.defaults(config or {}), config or {})
            config = build(type(self).Config, given, f"method[{self.name()}]")
        self.config: Any = config

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Settings that the user's, `given`, are laid over; a method whose variants have defaults of their own looks
        there for the variant."""
        return plain(cls.Config())

    @classmethod
    def name(cls) -> str:
        """The registered name: the stem of the file that defines the class."""
        return cls.__module__.rpartition(".")[2]

    def required(self) -> frozenset[str]:
        """What this method needs under its settings; `needs` unless the settings add something."""
        return frozenset(self.needs)

    @abstractmethod
    def apply(self, handle: Handle, data: Mapping[str, Split], run: "Run") -> Handle:
        """Make `handle` forget `data["forget"]`; returns the handle that holds the result (often the same one)."""


class GradientMethod(Method):
    """A method that descends gradients: the subclass gives phases, the engine runs them."""

    class Config(Settings):
        """Training settings that all gradient methods share; subclasses change defaults and add their own."""

        optimiser: Optimiser = Optimiser()
        epochs: int = 1
        batch_size: int = 64
        schedule: Literal["constant", "cosine", "linear", "one_cycle"] = "constant"
        clip_norm: float | None = None
        norm: NormMode = "train"
        augment: bool = True

    @abstractmethod
    def phases(self, handle: Handle, data: Mapping[str, Split], run: "Run") -> Sequence[Phase]:
        """The algorithm's phases in order. Called once, after `prepare`."""

    def prepare(self, handle: Handle, data: Mapping[str, Split], run: "Run") -> None:
        """References, masks, importances: deterministic from handle, data and run.seed (it runs again on resume,
        with the handle at its starting weights)."""

    def state(self) -> dict[str, Any]:
        """What a resume needs beyond weights and optimisers: tensors and JSON-able values."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""

    def finish(self, handle: Handle, data: Mapping[str, Split], run: "Run") -> Handle:
        """After the last phase: usually nothing; rewinding returns another checkpoint here."""
        return handle

    @final
    def apply(self, handle: Handle, data: Mapping[str, Split], run: "Run") -> Handle:
        """Prepare, run the phases through the engine, finish."""
        from mmunlearn.engine import Engine
        from mmunlearn.precision import working

        declared = Declared(data, self.required())
        handle.keep_logits = Need.LOGITS in self.required()
        with working(handle.module, run.train.precision):  # references are copied in the precision of the run
            self.prepare(handle, declared, run)
            Engine(handle, run, state=self.state, load_state=self.load_state).run(self.phases(handle, declared, run))
            result = self.finish(handle, declared, run)
        if result is not handle and run.train.precision == "double":
            result.module.float()
        return result

    def simple_phase(self, terms: Terms, streams: Mapping[str, Stream], driver: str, **more: Any) -> Phase:
        """A phase with this method's shared settings."""
        c = self.config
        options: dict[str, Any] = {
            "name": self.name(),
            "epochs": c.epochs,
            "spec": c.optimiser,
            "rate": rate(c.schedule),
            "norm": c.norm,
            "clip_norm": c.clip_norm,
        }
        return Phase(terms=terms, streams=streams, driver=driver, **(options | more))

    def stream(self, split: Split, **more: Any) -> Stream:
        """A stream with this method's batch size and augmentation."""
        options: dict[str, Any] = {"batch_size": self.config.batch_size, "augment": self.config.augment}
        return Stream(split, **(options | more))


class EditMethod(Method):
    """A closed-form or one-shot change of weights; `apply` proves that only `touches` changed."""

    touches: ClassVar[tuple[str, ...]] = ("*",)  # name patterns of parameters and buffers

    @abstractmethod
    def edit(self, handle: Handle, data: Mapping[str, Split], run: "Run") -> None:
        """Change `handle.module` in place."""

    def touched(self, handle: Handle) -> tuple[str, ...]:
        """Patterns for this handle; `touches` unless the edit depends on its settings."""
        return self.touches

    @final
    def apply(self, handle: Handle, data: Mapping[str, Split], run: "Run") -> Handle:
        """Edit, then compare every tensor outside `touches` with what it was."""
        patterns = self.touched(handle)
        kept = {
            name: tensor.detach().clone()
            for name, tensor in handle.module.state_dict().items()
            if not any(fnmatch(name, pattern) for pattern in patterns)
        }
        was_training = handle.module.training
        handle.module.eval()
        self.edit(handle, Declared(data, self.required()), run)
        handle.module.train(was_training)
        after = handle.module.state_dict()
        changed = [name for name, tensor in kept.items() if not torch.equal(tensor, after[name])]
        if changed:
            raise AssertionError(f"{self.name()} changed {changed[0]} outside what it declares {patterns}")
        return handle


class GuardMethod(Method):
    """A change at inference time; `apply` proves that no weight changed."""

    @abstractmethod
    def wrap(self, handle: Handle, data: Mapping[str, Split], run: "Run") -> Handle:
        """A handle that answers differently over the same weights."""

    @final
    def apply(self, handle: Handle, data: Mapping[str, Split], run: "Run") -> Handle:
        """Wrap, then compare the weights' hash."""
        before = weights_digest(handle.module)
        wrapped = self.wrap(handle, Declared(data, self.required()), run)
        if weights_digest(handle.module) != before:
            raise AssertionError(f"{self.name()} is a guard and changed weights")
        return wrapped


def rate(schedule: str) -> Callable[[Step], float] | None:
    """Factor on the learning rate over the phase: constant, linear or cosine to zero, or one cycle (30 % rise from
    1/25, cosine fall to 1e-4 of the peak; the shape of torch's OneCycleLR)."""
    import math

    if schedule == "constant":
        return None

    def factor(step: Step) -> float:
        done = step.index / max(step.total, 1)
        if schedule == "linear":
            return 1.0 - done
        if schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        if done < 0.3:
            return 1 / 25 + (1 - 1 / 25) * 0.5 * (1 - math.cos(math.pi * done / 0.3))
        return 1e-4 / 25 + (1 - 1e-4 / 25) * 0.5 * (1 + math.cos(math.pi * (done - 0.3) / 0.7))

    return factor


def is_concrete(candidate: object) -> bool:
    """Whether `candidate` is a method class that can be constructed."""
    return inspect.isclass(candidate) and issubclass(candidate, Method) and not inspect.isabstract(candidate)
