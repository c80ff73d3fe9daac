"""What several verbs' signatures share: the settings file, the dotted words, the words' help."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

Config = Annotated[Path | None, typer.Option("--config", help="YAML file of settings; words are laid over it.")]
Words = Annotated[
    list[str] | None, typer.Argument(metavar="[section.field=value]...", help="Settings, such as method.lr=0.001.")
]


def read_settings(config: Path | None, words: Sequence[str] | None) -> dict[str, Any]:
    """Settings of `--config` with the dotted words laid over them."""
    from mmunlearn.settings import read_yaml, with_words

    return with_words(read_yaml(config) if config is not None else {}, words or ())
