"""Settings: pydantic models < YAML (one `base:`) < dotted words, with near misses in every error.

The resolved settings of a run are stored beside it and hashed into its identity.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mmunlearn.errors import UserError, near_miss


class Settings(BaseModel):
    """Base of every settings object: keyword-only, frozen, unknown keys refused, defaults validated."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


T = TypeVar("T", bound=BaseModel)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same rules in C: a card takes 30 ms instead of 500


def read_yaml(path: Path, _above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Mapping in a YAML file; its key `base` (a path relative to the file) is read first and overlaid."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Give the path of a YAML settings file.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}). Save the file as UTF-8.") from None
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as YAML: {reason[:200]}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: holds a {type(content).__name__}, not settings. Write `key: value` lines.")
    base = content.pop("base", None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise UserError(f"{path}: base is a {type(base).__name__}, not one path (got {_shorten(base)}).")
    parent = (path.parent / base).resolve()
    if parent == path.resolve():
        raise UserError(f"{path}: base names the file itself.")
    if parent in _above:
        raise UserError(f"{path}: base {base} leads in a circle back to {parent}.")
    return merge(read_yaml(parent, (*_above, path.resolve())), content)


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`, mappings merged key by key, everything else replaced."""
    result = dict(under)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merge(result[key], value)
        else:
            result[key] = value
    return result


def with_words(content: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """`content` with dotted words such as `method.beta=0.1` laid over it; values are read as YAML."""
    result = dict(content)
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key.strip() or any(not part for part in key.split(".")):
            raise UserError(f"{word!r} is not a setting. Write section.field=value, for example method.lr=0.001.")
        try:
            value = yaml.safe_load(text) if text else ""
        except yaml.YAMLError:
            value = text
        nested: Any = value
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        result = merge(result, nested)
    return result


def build(model: type[T], content: Mapping[str, Any], where: str) -> T:
    """Validate `content` as `model`; the first two faults become one UserError that names `where` and the field."""
    try:
        return model.model_validate(dict(content))
    except ValidationError as error:
        lines = [_explain(model, fault, where) for fault in error.errors()[:2]]
        more = len(error.errors()) - 2
        if more > 0:
            lines.append(f"… and {more} more.")
        raise UserError("\n".join(lines)) from None


def _explain(model: type[BaseModel], fault: Any, where: str) -> str:
    path = [str(part) for part in fault["loc"]]
    field = ".".join([where, *path]) if where else ".".join(path)
    if fault["type"] == "extra_forbidden":
        owner = _model_at(model, path[:-1])
        allowed = list(owner.model_fields) if owner else []
        return f"{field}: no such setting. {near_miss(path[-1], allowed)}"
    if fault["type"] == "missing":
        return f"{field}: is required and missing."
    message = fault["msg"][0].lower() + fault["msg"][1:]
    message = message.removeprefix("value error, ")
    return f"{field}: {message} (got {_shorten(fault['input'])})."


def _model_at(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    current: Any = model
    parts = iter(path)
    for part in parts:
        field = current.model_fields.get(part) if isinstance(current, type) and issubclass(current, BaseModel) else None
        if field is None:
            return None
        held = getattr(field.annotation, "__args__", ())
        current = next((a for a in (field.annotation, *held) if _is_model(a)), None)
        if getattr(field.annotation, "__origin__", None) in (dict, tuple, list):
            next(parts, None)  # the key or the place inside the container
    return current if _is_model(current) else None


def _is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def plain(settings: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON-able data."""
    if isinstance(settings, BaseModel):
        return settings.model_dump(mode="json")
    return json.loads(json.dumps(settings, default=str))


def digest(content: object) -> str:
    """Sixteen hexadecimal digits that identify JSON-able content."""
    if isinstance(content, BaseModel):
        content = plain(content)
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lines `path old -> new` for every leaf that differs."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key, "(absent)"), new.get(key, "(absent)")
        path = f"{prefix}{key}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, f"{path}.")
        elif before != after:
            lines.append(f"{path} {_shorten(before)} -> {_shorten(after)}")
    return lines
