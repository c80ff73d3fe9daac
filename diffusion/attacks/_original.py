"""The model before unlearning, for attacks that compare the victim with it."""

from pathlib import Path

from mmunlearn.errors import UserError

from ..handle import DiffusionHandle

_OPEN: dict[tuple[str, str], DiffusionHandle] = {}


def open_original(folder: str, like: DiffusionHandle) -> DiffusionHandle:
    """The model in `folder` (a run, a saved model, or a pipeline in diffusers form) on the device of `like`, opened
    once a process. Raises UserError where none is named."""
    if not folder:
        raise UserError(
            "this attack compares with the model before unlearning, and none is known.\n"
            "Set original=FOLDER (a run, a saved model or a pipeline in diffusers form)."
        )
    key = (str(Path(folder).resolve()), str(like.device))
    if key not in _OPEN:
        _OPEN.clear()  # one at a time
        _OPEN[key] = opened(Path(folder), like)
    return _OPEN[key]


def opened(folder: Path, like: DiffusionHandle) -> DiffusionHandle:
    """The model in a folder; what lies in diffusers form takes the picture size of `like`."""
    if (folder / "model_index.json").is_file():
        handle = DiffusionHandle({"name": str(folder), "size_px": like.settings.size_px})
    else:
        place = folder / "model" if (folder / "model").is_dir() else folder
        handle = DiffusionHandle.load(place)
    handle.module.to(like.device)
    handle.module.eval().requires_grad_(False)
    return handle
