"""What is attacked: a finished run with its model, its data and the model before unlearning."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle, weights_digest
from mmunlearn.run import TrainSettings


@dataclass(frozen=True)
class Target:
    """A finished run with its model and data: what is attacked, or the control."""

    path: Path
    handle: Handle
    data: Mapping[str, Split]
    modality: str
    seed: int
    train: TrainSettings
    original: Path | None = None  # run folder of the model before unlearning

    @property
    def about(self) -> dict[str, str]:
        """Which model this is."""
        return {"run": self.path.name, "weights": weights_digest(self.handle.module)}


def open_target(path: Path, data: Mapping[str, Split] | None = None) -> Target:
    """The finished run at `path`; its splits are read again unless `data` gives them. Raises UserError for others."""
    from mmunlearn.modalities import load_handle
    from mmunlearn.pipeline import limited, load_data, make_benchmark, read_settings

    settings = read_settings(path)
    if not (path / "results.json").is_file() or not (path / "model").is_dir():
        raise UserError(f"{path}: is not finished. Repeat the command that made it, then attack it.")
    if data is None:
        loaded = load_data(settings, make_benchmark(settings))
        data = {name: limited(split, settings.evaluate.limit) for name, split in loaded.items()}
    handle = load_handle(settings.modality, path)
    return Target(path, handle, data, settings.modality, settings.seed, settings.train, _original(path, settings.start))


def _original(path: Path, start: str | None) -> Path | None:
    if start is None:
        return None
    folder = (path / start).resolve() if Path(start).parts[:1] == ("..",) else Path(start)
    return folder if (folder / "config.yaml").is_file() else None
