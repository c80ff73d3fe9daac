"""LoRA through peft: attached by settings, saved as what changed, loaded strictly (a mismatch is an error)."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmunlearn.errors import UserError
from mmunlearn.seeds import derive

from .families.base import Family
from .settings import Lora


def attach(model: nn.Module, family: Family, lora: Lora, seed: int = 0) -> nn.Module:
    """The model wrapped by peft; B starts at zero, so its outputs are the model's own."""
    from peft import LoraConfig, get_peft_model

    targets: Any = lora.targets or family.lora_targets(model)
    whole = family.projector_paths(model) if "projector" in lora.full else None
    config = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha,  # type: ignore[arg-type]  # fractions are taken too
        lora_dropout=lora.dropout, bias="none",
        target_modules=list(targets) if isinstance(targets, tuple) else targets, modules_to_save=whole,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft tells about tied weights that no adapter touches
        torch.manual_seed(derive(seed, "lora"))
        try:
            return get_peft_model(model, config)  # type: ignore[arg-type]
        except ValueError as error:
            raise UserError(f"model.lora.targets: {targets!r} matches no layer of this model. {error}") from None


def is_adapted(module: nn.Module) -> bool:
    """Whether the module carries adapters."""
    return hasattr(module, "disable_adapter")


def base_of(module: Any) -> Any:
    """The transformers model itself."""
    return module.get_base_model() if is_adapted(module) else module


def bare_model(module: Any) -> Any:
    """A new model that holds the base weights under the adapters (parts trained whole: as they were)."""
    base = module.get_base_model()
    state = {
        name.replace(".base_layer.", ".").replace(".original_module.", "."): tensor
        for name, tensor in base.state_dict().items()
        if not _changed(name)
    }
    with torch.random.fork_rng(devices=[]):
        model = type(base)(base.config).to(next(base.parameters()).dtype)
    model.load_state_dict(state)
    return model.eval()


def adapter_state(module: nn.Module) -> dict[str, Tensor]:
    """What adapters add: their matrices and the parts trained whole, by their names in the wrapped model."""
    return {name: tensor for name, tensor in module.state_dict().items() if _changed(name)}


def _changed(name: str) -> bool:
    return ".lora_" in name or ".modules_to_save." in name


def save_adapters(module: nn.Module, file: Path) -> None:
    """Write `adapter_state` to `file`."""
    save_file(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in adapter_state(module).items()}, file
    )


def load_adapters(module: nn.Module, file: Path) -> None:
    """Read what `save_adapters` wrote. Raises UserError unless names and shapes agree exactly."""
    try:
        stored: Mapping[str, Tensor] = load_file(file)
    except Exception as error:
        raise UserError(f"{file}: not readable as safetensors ({error}). Run the method again.") from None
    own = adapter_state(module)
    missing, unknown = sorted(own.keys() - stored.keys()), sorted(stored.keys() - own.keys())
    wrong = [name for name in own if name in stored and own[name].shape != stored[name].shape]
    if missing or unknown or wrong:
        what = f"{len(missing)} missing, {len(unknown)} unknown, {len(wrong)} of another shape"
        first = (missing + unknown + wrong)[0]
        raise UserError(
            f"{file}: adapters of another model ({what}; first: {first}).\n"
            "Nothing was loaded; give the run that belongs to this base model."
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(stored[name])
