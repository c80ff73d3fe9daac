"""Bank: what shadow models say about a fixed list of examples, and which of them each model was trained on.

Reference-model attacks and model-ensemble metrics (LiRA, U-LiRA, RMIA, attack-R, the 2023 challenge, KLOM) read it; it
is trained once, stored as one safetensors file (no pickle) and shared by all of them. Settings name it by path.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np

from mmunlearn.atomic import write_bytes
from mmunlearn.errors import UserError
from mmunlearn.records import Rows, read_rows
from mmunlearn.signals import signals

BANK = "path of a bank"
BankPath = Annotated[str, BANK]  # a setting of this type is the path of a bank file; "" = none given
STORED = ("loss", "confidence", "correctness", "rescaled_logit")


@dataclass(frozen=True)
class Bank:
    """Signals of `models` shadow models on `examples`; arrays are (models, examples).

    ids: of the examples. signals: by name, higher = member (`mmunlearn.signals`), float64. member: whether the example
    was in that model's training set. unlearned: whether it was then unlearned (a subset of member; None: no model of
    the bank was unlearned). about: JSON-able description (recipe, settings, seeds).
    """

    ids: tuple[str, ...]
    signals: Mapping[str, np.ndarray]
    member: np.ndarray
    unlearned: np.ndarray | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        shape = (len(self.member), len(self.ids))
        named = {"member": self.member, "unlearned": self.unlearned, **self.signals}
        for name, array in named.items():
            if array is not None and array.shape != shape:
                raise UserError(f"bank: {name} has shape {array.shape}, not (models, examples) = {shape}.")
        if self.member.dtype != bool or (self.unlearned is not None and self.unlearned.dtype != bool):
            raise UserError("bank: member and unlearned must be boolean arrays.")
        if len(set(self.ids)) != len(self.ids):
            raise UserError("bank: two examples have the same id.")
        if self.unlearned is not None and (self.unlearned & ~self.member).any():
            raise UserError("bank: an example is unlearned by a model that was not trained on it.")

    def __len__(self) -> int:
        """Number of models."""
        return len(self.member)

    @classmethod
    def of(
        cls,
        rows: Sequence[Rows],
        member: np.ndarray,
        unlearned: np.ndarray | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> Self:
        """A bank of models' responses to the same examples; columns of `member` are in the order of `rows[0].ids`."""
        ids = rows[0].ids
        each = []
        for one in rows:
            place = {key: i for i, key in enumerate(one.ids)}
            if set(place) != set(ids):
                raise UserError("bank: the models answered different examples.")
            each.append(signals(one.take([place[key] for key in ids])))
        stored = {name: np.stack([s[name] for s in each]) for name in STORED if all(name in s for s in each)}
        return cls(ids, stored, member, unlearned, about or {})

    def signal(self, name: str) -> np.ndarray:
        """The signal `name`, (models, examples). Raises UserError when the bank lacks it."""
        if name not in self.signals:
            raise UserError(f"bank: holds no signal {name!r}. Signals: {', '.join(sorted(self.signals)) or 'none'}.")
        return self.signals[name]

    def at(self, ids: Sequence[str]) -> Self:
        """The same models, examples `ids` in that order. Raises UserError when an example is not in the bank."""
        place = {key: i for i, key in enumerate(self.ids)}
        missing = [key for key in ids if key not in place]
        if missing:
            raise UserError(
                f"bank: {len(missing)} of {len(ids)} examples are not in it, for example {missing[0]!r}.\n"
                "Train the bank on this benchmark, edition and seed."
            )
        index = np.asarray([place[key] for key in ids], dtype=np.int64)
        return self._pick(tuple(ids), (slice(None), index))

    def models(self, index: Sequence[int] | np.ndarray) -> Self:
        """The models at `index` (numbers or a boolean mask), all examples."""
        return self._pick(self.ids, (np.asarray(index), slice(None)))

    def _pick(self, ids: tuple[str, ...], where: tuple[Any, Any]) -> Self:
        unlearned = None if self.unlearned is None else self.unlearned[where]
        return type(self)(
            ids, {k: v[where] for k, v in self.signals.items()}, self.member[where], unlearned, self.about
        )

    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically."""
        from safetensors.numpy import save

        arrays = {f"signal.{name}": np.ascontiguousarray(v, dtype=np.float64) for name, v in self.signals.items()}
        arrays["member"] = np.ascontiguousarray(self.member)
        if self.unlearned is not None:
            arrays["unlearned"] = np.ascontiguousarray(self.unlearned)
        header = {"kind": "bank", "schema": "1", "ids": json.dumps(self.ids), "about": json.dumps(dict(self.about))}
        write_bytes(path, save(arrays, metadata=header))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read what `save` wrote. Raises UserError for a missing, damaged or other file."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as stream:
                header = stream.metadata() or {}
                arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118  (not a mapping)
        except FileNotFoundError:
            raise UserError(f"{path}: no such bank of shadow models. Train one first.") from None
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: not a bank file ({error}). Delete it and train the bank again.") from None
        if header.get("kind") != "bank" or "member" not in arrays:
            raise UserError(f"{path}: is a safetensors file, but not a bank of shadow models.")
        found = {name.removeprefix("signal."): v for name, v in arrays.items() if name.startswith("signal.")}
        return cls(
            tuple(json.loads(header["ids"])), found, arrays["member"], arrays.get("unlearned"),
            json.loads(header.get("about", "{}")),
        )  # fmt: skip


def bank_of_runs(runs: Sequence[Path]) -> Bank:
    """A bank of finished runs (one row with several seeds, say): what each run's model answered to all its splits.

    Runs that answered to other examples than the first one are the user's mistake. Who was trained on what is not
    asked, so `member` is False throughout: metrics that compare models alone (KLOM, the 2023 challenge) read it.
    """
    answers = []
    for run in runs:
        splits = sorted(path for path in (run / "responses").glob("*") if path.is_dir())
        rows = {row["id"]: row for split in splits for row in read_rows(split)}
        answers.append(Rows.of([rows[key] for key in sorted(rows)]))
    if not answers or not len(answers[0]):
        raise UserError(f"{runs[0] if runs else 'bank'}: holds no responses. Finish the run first.")
    member = np.zeros((len(answers), len(answers[0])), dtype=bool)
    return Bank.of(answers, member, about={"runs": [run.name for run in runs]})


def read_bank(path: str, who: str) -> Bank:
    """The bank at a setting's path: a bank's file, or a pattern of finished runs (out/mufac/runs/scrub-s*).

    An empty path and a pattern that fits no run are the user's mistake. `who` names the setting.
    """
    if not path:
        raise UserError(f"{who}: needs a bank of models. Give its file or a pattern of runs: {who}=PATH.")
    if any(sign in path for sign in "*?["):
        runs = [Path(found) for found in sorted(glob(path)) if (Path(found) / "responses").is_dir()]
        if len(runs) < 2:
            raise UserError(f"{who}: {path} fits {len(runs)} finished runs; a bank needs two or more. Add seeds.")
        return bank_of_runs(runs)
    return Bank.load(Path(path))
