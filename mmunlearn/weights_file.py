"""Files of network weights: read without executing anything, loaded strictly."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from mmunlearn.errors import UserError


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a .safetensors file, or of a torch file that holds nothing but tensors (no code is executed).

    A mapping under "state_dict", "model_state_dict" or "model" is unwrapped. Raises UserError naming the file
    otherwise.
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
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"{path}: holds {type(content).__name__}, not named tensors. Convert it to .safetensors.")
    return {key.removeprefix("module."): value for key, value in content.items()}


def load_strictly(network: nn.Module, weights: Mapping[str, torch.Tensor], where: Path | str, remedy: str) -> None:
    """Load `weights` into `network`; the UserError names the first tensors that are missing, left over or of another
    shape, and ends with `remedy`."""
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
            f"{where}: weights of another model: {'; '.join(details)}.\n{remedy}"
        )
    network.load_state_dict(dict(weights))
