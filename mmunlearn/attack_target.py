"""What is attacked: a finished run with its model, its data and the model before unlearning."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmunlearn.cards import Card
from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding, Handle, weights_digest
from mmunlearn.run import TrainSettings

if TYPE_CHECKING:
    from mmunlearn.pipeline import RunSettings


@dataclass(frozen=True)
class Target:
    """A finished run with its model and data: what is attacked, or the control.

    settings and card say how the run answers and judges; without them defaults do.
    """

    path: Path
    handle: Handle
    data: Mapping[str, Split]
    modality: str
    seed: int
    train: TrainSettings
    original: Path | None = None  # run folder of the model before unlearning
    settings: "RunSettings | None" = None
    card: Card | None = None

    @property
    def about(self) -> dict[str, str]:
        """Which model this is."""
        return {"run": self.path.name, "weights": weights_digest(self.handle.module)}

    def decoding(self, split: str) -> Decoding:
        """How the run's own responses to `split` are made."""
        from mmunlearn.pipeline import decoding

        return Decoding() if self.settings is None or self.card is None else decoding(self.settings, self.card, split)


def open_target(path: Path, data: Mapping[str, Split] | None = None) -> Target:
    """The finished run at `path`; its splits are read again unless `data` gives them. Raises UserError for others."""
    from mmunlearn.modalities import load_handle
    from mmunlearn.pipeline import limited, load_data, make_benchmark, read_settings

    settings = read_settings(path)
    if not (path / "results.json").is_file() or not (path / "model").is_dir():
        raise UserError(f"{path}: is not finished. Repeat the command that made it, then attack it.")
    benchmark = make_benchmark(settings)
    if data is None:
        loaded = load_data(settings, benchmark)
        data = {name: limited(split, settings.evaluate.limit) for name, split in loaded.items()}
    return Target(
        path, load_handle(settings.modality, path), data, settings.modality, settings.seed, settings.train,
        _original(path, settings.start), settings, benchmark.card,
    )  # fmt: skip


def _original(path: Path, start: str | None) -> Path | None:
    if start is None:
        return None
    folder = (path / start).resolve() if Path(start).parts[:1] == ("..",) else Path(start)
    return folder if (folder / "config.yaml").is_file() else None


def first_start(path: Path) -> Path:
    """The model before any unlearning: where the chain of starts from the run at `path` begins (itself without one)."""
    from mmunlearn.pipeline import read_settings

    seen: list[Path] = []
    while path not in seen and (path / "config.yaml").is_file():
        seen.append(path)
        start = read_settings(path).start
        if start is None:
            break
        path = (path / start).resolve() if Path(start).parts[:1] == ("..",) else Path(start)
    return path.resolve()
