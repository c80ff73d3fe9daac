"""What the contract checks of attacks work on: a toy task by modality, an attack with its toy settings."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from mmunlearn.attacks.base import ORIGINAL, Attack
from mmunlearn.bank import BANK
from mmunlearn.handle import Decoding
from mmunlearn.testing.method_checks import Toy, modality_of, toy
from mmunlearn.testing.toy_bank import bank_file

HOW = Decoding()


def task_of(cls: type[Attack]) -> Toy:
    """The toy task of the attack's modality."""
    return toy(modality_of(cls))


def make(cls: type[Any], **over: Any) -> Any:
    """The attack with its toy settings, and a tiny bank or the toy's original where it asks for one."""
    settings = dict(getattr(cls, "toy", {})) | over
    for name, field in cls.Config.model_fields.items():
        if BANK in field.metadata:
            settings.setdefault(name, str(bank_file(modality_of(cls))))
        if ORIGINAL in field.metadata:
            settings.setdefault(name, str(original_folder(modality_of(cls))))
    return cls(settings)


@cache
def original_folder(modality: str) -> Path:
    """Folder of the toy task's model, written once a process and removed at its end."""
    keep = tempfile.TemporaryDirectory(prefix="mmunlearn-original-")
    _FOLDERS.append(keep)
    toy(modality).original.save(Path(keep.name) / "model")
    return Path(keep.name) / "model"


_FOLDERS: list[tempfile.TemporaryDirectory] = []
