"""Nested state as one safetensors file and one JSON file: no pickle is ever written or read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mmunlearn.errors import UserError


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (nested mappings and lists of tensors and JSON-able values) into an existing folder."""
    tensors: dict[str, torch.Tensor] = {}
    tree = _split(state, tensors)
    save_file(tensors, folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps(tree), encoding="utf-8")


def read_state(folder: Path) -> dict[str, Any]:
    """What `write_state` wrote. Raises UserError naming the folder when it is damaged."""
    try:
        tensors = load_file(folder / "state.safetensors")
        tree = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return _join(tree, tensors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise UserError(f"{folder}: damaged checkpoint ({error}). Delete it or start again with --fresh.") from None


def _split(node: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(node, torch.Tensor):
        key = f"t{len(tensors)}"
        tensors[key] = node.detach().cpu().contiguous().clone()
        return {"tensor": key}
    if isinstance(node, Mapping):
        return {"map": [[key, _split(value, tensors)] for key, value in node.items()]}
    if isinstance(node, (list, tuple)):
        return {"list": [_split(value, tensors) for value in node]}
    return {"value": node}


def _join(node: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "map":
        return {key: _join(value, tensors) for key, value in content}
    if kind == "list":
        return [_join(value, tensors) for value in content]
    return content
