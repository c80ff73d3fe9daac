"""Image classifiers by name ("timm/resnet10t", "torchvision/resnet18") or from a local file of weights."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmunlearn.errors import UserError, near_miss
from mmunlearn.seeds import derive


def make_network(name: str, outputs: int, *, seed: int, options: dict[str, Any] | None = None) -> nn.Module:
    """A network with `outputs` logits, weights initialised from `seed`; no weights are downloaded.

    name: "timm/<model>" or "torchvision/<model>". Raises UserError for an unknown library or model.
    """
    library, slash, model = name.partition("/")
    if not slash or library not in {"timm", "torchvision"}:
        raise UserError(f"model.name: {name!r} is not known. Write timm/<model> or torchvision/<model>.")
    # Constructors draw from torch's global generator; it is put back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init"))
        return (_timm if library == "timm" else _torchvision)(model, outputs, options or {})


def _timm(model: str, outputs: int, options: dict[str, Any]) -> nn.Module:
    timm = _library("timm")
    if not timm.is_model(model):
        raise UserError(f"model.name: timm has no {model!r}. {near_miss(model, timm.list_models())}")
    try:
        return timm.create_model(model, pretrained=False, num_classes=outputs, **options)
    except TypeError as error:
        raise UserError(f"model.options: timm/{model} refuses them ({error}).") from None


def _torchvision(model: str, outputs: int, options: dict[str, Any]) -> nn.Module:
    models = _library("torchvision").models
    known = models.list_models(module=models)
    if model not in known:
        raise UserError(f"model.name: torchvision has no {model!r}. {near_miss(model, known)}")
    try:
        return models.get_model(model, weights=None, num_classes=outputs, **options)
    except TypeError as error:
        raise UserError(f"model.options: torchvision/{model} refuses them ({error}).") from None


def _library(name: str) -> Any:
    try:
        module = __import__(name)
        if name == "torchvision":
            import torchvision.models  # noqa: F401
    except ImportError as error:
        raise UserError(f"{name} is not installed ({error}). Run: pip install {name}") from None
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        raise UserError(
            "torch and torchvision do not match (a CPU build beside a CUDA build). Install both from one index:\n"
            "uv pip install --reinstall torch torchvision"
        ) from None
    return module


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a .safetensors file, or of a torch file that holds nothing but tensors (no code is executed).

    A mapping under "state_dict" or "model" is unwrapped. Raises UserError naming the file otherwise.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise UserError(f"{path}: no such weights file. Give a .safetensors or .pth file.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: not a safetensors file ({error}).") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        first = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: refused, it is not a plain file of tensors ({first}). Convert it to .safetensors."
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"{path}: holds {type(content).__name__}, not named tensors. Convert it to .safetensors.")
    return {key.removeprefix("module."): value for key, value in content.items()}


def load_weights(network: nn.Module, weights: dict[str, torch.Tensor], where: Path | str) -> None:
    """Strictly load `weights`; the error names the first tensors that are missing, left over or of another shape.

    MUCAC's published multi-label checkpoints hold the head under `fc.fc.*` (vision.md 2.3); it is read as `fc.*`.
    """
    weights = {key.replace("fc.fc.", "fc."): value for key, value in weights.items()}
    own = network.state_dict()
    missing = sorted(set(own) - set(weights))
    extra = sorted(set(weights) - set(own))
    shapes = [k for k in sorted(set(own) & set(weights)) if own[k].shape != weights[k].shape]
    if missing or extra or shapes:
        details = []
        if shapes:
            k = shapes[0]
            details.append(f"{k} is {tuple(weights[k].shape)}, the model has {tuple(own[k].shape)}")
        if missing:
            details.append(f"{len(missing)} tensors are missing (first: {missing[0]})")
        if extra:
            details.append(f"{len(extra)} are left over (first: {extra[0]})")
        raise UserError(
            f"{where}: weights of another model: {'; '.join(details)}.\nSet model.name and model.classes to match."
        )
    network.load_state_dict(weights)
