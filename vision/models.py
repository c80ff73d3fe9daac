"""Image classifiers by name ("timm/resnet10t", "torchvision/resnet18") or from a local file of weights."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmunlearn.errors import UserError, near_miss
from mmunlearn.seeds import derive
from mmunlearn.weights_file import load_strictly


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


def load_weights(network: nn.Module, weights: dict[str, torch.Tensor], where: Path | str) -> None:
    """Strictly load `weights`.

    MUCAC's published multi-label checkpoints hold the head under `fc.fc.*` (vision.md 2.3); it is read as `fc.*`.
    """
    renamed = {key.replace("fc.fc.", "fc."): value for key, value in weights.items()}
    load_strictly(network, renamed, where, "Set model.name and model.classes to match.")
