"""A small vision-language model that a mini edition's table of questions teaches: a judge without a download."""

import importlib
from functools import cached_property
from pathlib import Path
from typing import Any

from mmunlearn import registry
from mmunlearn.chat.local import LocalChat, LocalSettings
from mmunlearn.data import ImageRef, PictureFolder

BUILDER = "mmunlearn.vlm.question_model"


class TrainedSettings(LocalSettings):
    """root: folder with questions.jsonl; none for the mini edition of `benchmark` out of the cache."""

    model: str = "trained"
    root: PictureFolder = ""
    benchmark: str = "unbranding"


class TrainedChat(LocalChat):
    """A local model that is trained from `root` when it is first asked, and kept in the user's cache."""

    Config = TrainedSettings

    @cached_property
    def _folder(self) -> str:
        # By name: the builder belongs to a sibling, which the core never imports.
        builder: Any = importlib.import_module(BUILDER)
        return str(builder.folder_for(str(self._root)))

    @cached_property
    def identity(self) -> str:
        """Hash of the table that it learns."""
        return ImageRef(path=self._root / "questions.jsonl").digest

    @property
    def _root(self) -> Path:
        if self.settings.root:
            return Path(self.settings.root)
        from mmunlearn.benchmark import resolve_root

        found = registry.find("benchmarks", self.settings.benchmark)
        return resolve_root(found.load()({}), "mini", None)
