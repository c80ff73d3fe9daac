"""Models on disk: the whole pipeline once, afterwards only the tensors that changed; exports for plain diffusers."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmunlearn.errors import UserError
from mmunlearn.handle import read_description
from mmunlearn.settings import build, plain

from .guard import Guard
from .parts import Parts, quiet, read_parts
from .settings import DiffusionSettings

if TYPE_CHECKING:
    from .handle import DiffusionHandle

CHANGED = "changed.safetensors"
GUARD = "guard.safetensors"
PIPELINE = "pipeline"


@dataclass(frozen=True)
class Base:
    """The stored model whose unchanged tensors need not be stored again. name: a pipeline's folder or hub id, or None
    where `folder` holds one that this package saved. tensors: hash of each."""

    name: str | None
    folder: Path | None
    tensors: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Hash of all its tensors."""
        text = json.dumps(sorted(self.tensors.items()))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def tensor_digests(module: nn.Module) -> dict[str, str]:
    """Hash of every parameter and buffer, with its shape and type."""
    found = {}
    for name, tensor in module.state_dict().items():
        raw = tensor.detach().cpu().contiguous()
        digest = hashlib.blake2b(f"{tuple(raw.shape)} {raw.dtype}".encode(), digest_size=12)
        digest.update(raw.reshape(-1).view(torch.uint8).numpy())
        found[name] = digest.hexdigest()
    return found


def changed_names(module: nn.Module, base: Base) -> list[str]:
    """Names of the tensors that differ from the base."""
    now = tensor_digests(module)
    return sorted(name for name, value in now.items() if base.tensors.get(name) != value)


def save(handle: "DiffusionHandle", path: Path) -> None:
    """Write `handle` into the folder `path`: changed tensors where a base is stored, the whole pipeline otherwise."""
    path.mkdir(parents=True, exist_ok=True)
    description: dict[str, Any] = {"modality": handle.modality, "settings": plain(handle.settings)}
    base = handle.base
    if base is None:
        with quiet():
            handle.parts.pipeline().save_pretrained(path / PIPELINE)
    else:
        names = changed_names(handle.module, base)
        state = handle.module.state_dict()
        save_file({name: state[name].detach().cpu().clone().contiguous() for name in names}, path / CHANGED)
        # Relative, so that a reproduction's folder may be moved as a whole.
        where = {"name": base.name} if base.name else {"folder": os.path.relpath(str(base.folder), path.resolve())}
        description |= {"base": where, "base_digest": base.digest, "changed": names}
    if handle.guard is not None:
        guard = handle.guard
        description["guard"] = {"method": guard.method, "facts": plain(dict(guard.facts()))}
        save_file({name: t.detach().cpu().clone().contiguous() for name, t in guard.tensors().items()}, path / GUARD)
    (path / "handle.json").write_text(json.dumps(description, indent=1, sort_keys=True), encoding="utf-8")


def load(path: Path, modality: str) -> tuple[DiffusionSettings, Parts, Base, Guard | None]:
    """What `save` wrote. Raises UserError for another kind of model, a base that is gone or changed, damaged files."""
    content = read_description(path, modality)
    settings = build(DiffusionSettings, content.get("settings", {}), str(path / "handle.json"))
    if "base" not in content:
        if not (path / PIPELINE).is_dir():
            raise UserError(f"{path}: its folder {PIPELINE} is missing. Make the model again.")
        parts = read_parts(str(path / PIPELINE), settings)
        return settings, parts, Base(None, path.resolve(), tensor_digests(parts.module)), _guard(path, content)
    parts, base = _base_of(path, content, settings)
    if base.digest != content.get("base_digest"):
        raise UserError(
            f"{path}: its changes belong to another state of the model under them ({content['base']}).\n"
            "Its weights have changed since; run the method again."
        )
    _lay_over(parts.module, path / CHANGED, content.get("changed", []))
    return settings, parts, base, _guard(path, content)


def _base_of(path: Path, content: Mapping[str, Any], settings: DiffusionSettings) -> tuple[Parts, Base]:
    told = content["base"]
    if not isinstance(told, dict) or not ({"name", "folder"} & set(told)):
        raise UserError(f"{path / 'handle.json'}: damaged. Make the model again.")
    if "name" in told:
        parts = read_parts(told["name"], settings)
        return parts, Base(told["name"], None, tensor_digests(parts.module))
    folder = (path.resolve() / told["folder"]).resolve()
    if not (folder / PIPELINE).is_dir():
        raise UserError(f"{path}: holds changes to the model in {folder}, which is not there. Restore it.")
    parts = read_parts(str(folder / PIPELINE), settings)
    return parts, Base(None, folder, tensor_digests(parts.module))


def _lay_over(module: nn.Module, file: Path, names: list[str]) -> None:
    """Copy stored tensors over the module's."""
    try:
        stored = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}). Make the model again.") from None
    if sorted(stored) != sorted(names):
        raise UserError(f"{file}: does not hold the tensors that handle.json lists. Make the model again.")
    state = module.state_dict()
    for name, tensor in stored.items():
        if name not in state or state[name].shape != tensor.shape:
            raise UserError(f"{file}: tensor {name} is unknown or of another shape. It belongs to another model.")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise UserError(f"{file}: tensor {name} holds values that are not finite. Make the model again.")
        state[name].copy_(tensor)


def _guard(path: Path, content: Mapping[str, Any]) -> Guard | None:
    if "guard" not in content:
        return None
    import importlib

    from mmunlearn import registry

    told = content["guard"]
    method = registry.load("methods", told["method"], "diffusion")
    try:
        tensors = load_file(path / GUARD)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path / GUARD}: cannot be read ({error}). Make the model again.") from None
    return importlib.import_module(method.__module__).restore(told["facts"], tensors)


# ---- exports --------------------------------------------------------------------------------------------------
def export(handle: "DiffusionHandle", path: Path, form: str, rank: int | None) -> None:
    """See DiffusionHandle.export."""
    if handle.guard is not None:
        raise UserError("a guard acts while sampling and is no weight; plain diffusers cannot load it.")
    if form == "diffusers":
        with quiet():
            handle.parts.pipeline().save_pretrained(path)
        return
    if form != "lora":
        raise UserError(f"export form {form!r} is unknown. Choose diffusers or lora.")
    if handle.base is None:
        raise UserError(
            "export form lora: this model was never stored beside a base. Save and load the original first."
        )
    _export_lora(handle, path, rank)


def _export_lora(handle: "DiffusionHandle", path: Path, rank: int | None) -> None:
    """The change of every linear and convolution weight as the product of two factors (singular vectors)."""
    import diffusers

    assert handle.base is not None
    names = changed_names(handle.module, handle.base)
    kinds = {f"{name}.weight": layer for name, layer in handle.module.named_modules()}
    fitting = (nn.Linear, nn.Conv2d)
    wrong = [n for n in names if not (n.startswith("denoiser.") and isinstance(kinds.get(n), fitting))]
    if wrong:
        raise UserError(f"export form lora: {wrong[0]} changed and is no linear or convolution weight. Use diffusers.")
    before = _base_state(handle)
    now = handle.module.state_dict()
    layers: dict[str, Tensor] = {}
    for name in names:
        up, down = factors(now[name].detach().cpu() - before[name], rank)
        key = name.removeprefix("denoiser.").removesuffix(".weight")
        layers |= {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}
    pipeline = getattr(diffusers, handle.family.pipeline)
    with quiet():
        pipeline.save_lora_weights(path, **{f"{handle.family.denoiser}_lora_layers": layers}, safe_serialization=True)


def _base_state(handle: "DiffusionHandle") -> Mapping[str, Tensor]:
    base = handle.base
    assert base is not None
    where = base.name or str(Path(str(base.folder)) / PIPELINE)
    parts = read_parts(where, handle.settings)
    if Base(base.name, base.folder, tensor_digests(parts.module)).digest != base.digest:
        raise UserError(f"{where}: has changed since this model was made from it. Run the method again.")
    return parts.module.state_dict()


def factors(change: Tensor, rank: int | None) -> tuple[Tensor, Tensor]:
    """Two factors whose product is the change of a weight, in LoRA's shapes; exact up to rounding without `rank`."""
    flat = change.flatten(1).double()
    left, values, right = torch.linalg.svd(flat, full_matrices=False)
    kept = int((values > values[0] * 1e-9).sum()) if rank is None else min(rank, len(values))
    root = values[: max(kept, 1)].sqrt()
    up, down = left[:, : len(root)] * root, root[:, None] * right[: len(root)]
    if change.dim() == 4:
        up, down = up[:, :, None, None], down.reshape(len(root), *change.shape[1:])
    return up.to(change.dtype).contiguous(), down.to(change.dtype).contiguous()
