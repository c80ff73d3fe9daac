"""Stored models: a plain transformers folder, or adapters with what they lie on."""

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors.torch import load_file, save_file

from mmunlearn.errors import UserError
from mmunlearn.handle import read_description, weights_digest
from mmunlearn.settings import build, plain

from . import adapters, single_edits
from .scratch import PREFIX, read_folder
from .settings import VlmSettings

if TYPE_CHECKING:
    from .handle import VlmHandle

EDITS = "single_edits.safetensors"
H = TypeVar("H", bound="VlmHandle")


@dataclass(frozen=True)
class Base:
    """What adapters lie on: the folder it was read from, and the hash of its weights."""

    folder: str | None = None
    digest: str = ""


def save(handle: "VlmHandle", path: Path) -> None:
    """A plain transformers folder (loads without this package); with adapters what they changed, and what they lie on:
    a pointer to its folder or name with its hash, or the whole base where it was never stored."""
    path.mkdir(parents=True, exist_ok=True)
    description: dict[str, Any] = {"modality": handle.modality, "settings": plain(handle.settings)}
    edits = single_edits.edits_of(handle.model)
    if edits is not None:
        _save_edits(handle, edits, path, description)
    elif adapters.is_adapted(handle.module):
        adapters.save_adapters(handle.module, path / "adapter.safetensors")
        if handle.base.folder is None and handle.settings.name.startswith(PREFIX):
            handle.bare().save(path / "base")
            description["base"] = "base"
        elif handle.base.folder is not None:
            # Relative, so that a reproduction's folder may be moved as a whole.
            description["base"] = os.path.relpath(handle.base.folder, path.resolve())
        description["base_digest"] = handle.base.digest
    else:
        handle.module.save_pretrained(path)  # type: ignore[operator]
        handle.processor.save_pretrained(path)
    (path / "handle.json").write_text(json.dumps(description, indent=1, sort_keys=True), encoding="utf-8")


def _save_edits(handle: "VlmHandle", edits: single_edits.Edits, path: Path, description: dict[str, Any]) -> None:
    """The edits alone, and where the model lies that they are edits of (beside them, where it was never stored)."""
    save_file({name: tensor.cpu().contiguous() for name, tensor in edits.state().items()}, path / EDITS)
    single_edits.detach(handle.model)
    try:
        description |= {"single_edits": edits.about(), "base_digest": weights_digest(handle.module)}
        if handle.base.folder is None or adapters.is_adapted(handle.module):
            save(handle, path / "base")
            description["base"] = "base"
        else:
            description["base"] = os.path.relpath(handle.base.folder, path.resolve())
    finally:
        single_edits.attach(handle.model, edits)


def export(handle: "VlmHandle", path: Path) -> None:
    """A plain transformers folder with adapters merged into the weights."""
    model: Any = handle.module
    if adapters.is_adapted(model):
        model = copy.deepcopy(model).merge_and_unload()
    model.save_pretrained(path)
    handle.processor.save_pretrained(path)


def load(cls: type[H], path: Path, device: torch.device | str) -> H:
    """Read what `save` wrote. Raises UserError where the base of adapters is gone or has changed."""
    content = read_description(path, cls.modality)
    settings = build(VlmSettings, content.get("settings", {}), str(path / "handle.json"))
    if "base_digest" not in content:
        handle = cls.__new__(cls)
        handle.take(settings, *read_folder(str(path), settings))
        handle.base = Base(str(path.resolve()))
        handle.module.to(device)
        return handle
    under = _base_of(cls, path, content, settings)
    if "single_edits" in content:
        return _with_edits(under, path, content, settings, device)
    lora = plain(settings.lora) if settings.lora is not None else None
    handle = under.adapted({"lora": lora} | _without_weights(settings))
    if handle.base.digest != content["base_digest"]:
        raise UserError(
            f"{path}: its adapters belong to another state of the model under them ({content.get('base')}).\n"
            "Its weights have changed since; run the method again."
        )
    adapters.load_adapters(handle.module, path / "adapter.safetensors")
    handle.folder = str(path.resolve())
    handle.module.to(device)
    return handle


def _with_edits(
    handle: H, path: Path, content: Mapping[str, Any], settings: VlmSettings, device: torch.device | str
) -> H:
    """The model with the edits that were stored for it."""
    handle = handle.adapted(_without_weights(settings))
    if weights_digest(handle.module) != content["base_digest"]:
        raise UserError(
            f"{path}: its edits belong to another state of the model under them ({content.get('base')}).\n"
            "Its weights have changed since; run the method again."
        )
    try:
        edits = single_edits.rebuilt(content["single_edits"], load_file(path / EDITS))
    except Exception as error:
        raise UserError(f"{path / EDITS}: not readable as safetensors ({error}). Run the method again.") from None
    handle.module.to(device)
    single_edits.attach(handle.model, edits)
    handle.folder = str(path.resolve())
    return handle


def _base_of(cls: type[H], path: Path, content: Mapping[str, Any], settings: VlmSettings) -> H:
    if "base" not in content:
        return cls(settings.model_copy(update={"lora": None}))
    folder = (path.resolve() / content["base"]).resolve()
    if not (folder / "handle.json").is_file():
        raise UserError(f"{path}: adapters of the model in {folder}, which is not there. Restore it.")
    return cls.load(folder).merged()  # adapters may lie on a model that was itself trained with adapters


def _without_weights(settings: VlmSettings) -> dict[str, Any]:
    """Settings that may be laid over a loaded model: all but those that choose its weights."""
    fixed = {"name", "architecture", "revision", "lora", "trust_remote_code"}
    return {key: value for key, value in plain(settings).items() if key not in fixed}
