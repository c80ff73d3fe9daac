"""Readers of UnlearnCanvas: the folder form `{style}/{object}/{i}.jpg` and the hub's parquet form, checked."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError, near_miss
from mmunlearn.tables import IMAGE_SUFFIXES, Record

from .names import ALL_THEMES, IMAGES, Names, names_of, spelled
from .prompts import parse_caption

log = logging.getLogger(__name__)

ALLOW = "benchmark.check_counts=false"
COLUMNS = ("image", "text")


@dataclass(frozen=True)
class Picture:
    """One picture. number: its index 1, 2, … in its folder; in the parquet form, where that is lost, its place among
    the rows of the same style and object."""

    style: str
    object: str
    number: int
    image: ImageRef


@dataclass(frozen=True)
class Canvas:
    """All pictures of some data, by style, object and number. indexed: whether numbers are the true indices, so that
    equal numbers of two styles show the same content."""

    root: Path
    names: Names
    pictures: tuple[Picture, ...]
    indexed: bool

    def refuse_without_index(self, what: str) -> None:
        """UserError when the data are in the parquet form; what: what needs the index."""
        if not self.indexed:
            raise UserError(
                f"{self.root}: {what} needs to know which index (1 to {IMAGES}) a picture has, and the parquet files "
                "do not say.\nGive --root the folder form {style}/{object}/{i}.jpg (the cloud folder of the authors' "
                "README)."
            )


def read_canvas(root: Path, names: Names, *, strict: bool, what: str) -> Canvas:
    """Pictures of either form under `root`, for the themes and objects of `names`.

    strict: every style and object must have all 20 pictures; else what is there is taken, with a warning for what is
    not. what: the card's words for what must be there. Raises UserError naming the first missing or strange folder or
    file, with the count.
    """
    known = {*ALL_THEMES, *names.themes}
    if any((root / theme).is_dir() for theme in known):
        return Canvas(root, names, tuple(_folders(root, names, strict)), indexed=True)
    files = sorted(root.glob("*.parquet")) or sorted((root / "data").glob("*.parquet"))
    if files:
        log.warning(
            "%s: the parquet files do not hold the image index; pictures are numbered in the order of their rows, and "
            "what needs the index (style transfer, FID against pictures 1 to 5, first pictures only) is refused.",
            files[0].parent,
        )
        return Canvas(root, names, tuple(_parquet(files, names, strict)), indexed=False)
    present = [child.name for child in sorted(root.iterdir()) if child.is_dir()]
    near = [name for name in present if spelled(name, tuple(known))]
    hint = f" There is {near[0]!r}; folders are named like {spelled(near[0], tuple(known))!r}." if near else ""
    raise UserError(f"{root}: no style folder and no parquet file.{hint} unlearncanvas needs: {what}")


# ---- folder form --------------------------------------------------------------------------------------------------
def _folders(root: Path, names: Names, strict: bool) -> Iterator[Picture]:
    present = [child.name for child in sorted(root.iterdir()) if child.is_dir()]
    missing = [theme for theme in names.themes if theme not in present]
    known = {*ALL_THEMES, *names.themes, *names_of(root).themes}  # `names` may be cut to a few of the folder's own
    strange = [name for name in present if name not in known]
    if missing and (strict or len(missing) == len(names.themes)):
        hint = near_miss(missing[0], strange) if strange else "Unpack the data again"
        hint = hint if hint.startswith("Did you") else f"Unpack the data again, or set {ALLOW}."
        raise UserError(f"{root}: {len(missing)} of {len(names.themes)} styles missing (first: {missing[0]}). {hint}")
    if missing:
        log.warning("%s: %d styles missing (first: %s)", root, len(missing), missing[0])
    if strange and not all(name.startswith(".") for name in strange):
        log.warning("%s: %s is no style of the benchmark; passed over", root, ", ".join(strange[:3]))
    for theme in names.themes:
        if theme in missing:
            continue
        for thing in names.objects:
            yield from _cell(root / theme / thing, theme, thing, strict)


def _cell(folder: Path, theme: str, thing: str, strict: bool) -> Iterator[Picture]:
    """Pictures of one style and object, by index."""
    if not folder.is_dir():
        others = sorted(child.name for child in folder.parent.iterdir() if child.is_dir())
        hint = near_miss(thing, others) if others else "The style's folder is empty."
        raise UserError(f"{folder}: no such folder, but the style must hold every object. {hint}")
    found: dict[int, Path] = {}
    with os.scandir(folder) as entries:
        files = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    for name in files:
        stem, _, suffix = name.rpartition(".")
        if f".{suffix.lower()}" not in IMAGE_SUFFIXES:
            continue
        if not stem.isdecimal() or int(stem) < 1:
            raise UserError(f"{folder / name}: a picture is named by its index, 1.jpg to {IMAGES}.jpg. Rename it.")
        if int(stem) in found:
            raise UserError(f"{folder / name}: index {int(stem)} is {found[int(stem)].name} too. Remove one of them.")
        found[int(stem)] = folder / name
    if not found:
        raise UserError(f"{folder}: holds no pictures. Unpack the data again.")
    lacking = [index for index in range(1, IMAGES + 1) if index not in found]
    beyond = [index for index in found if index > IMAGES]
    if strict and (lacking or beyond):
        wrong = f"{beyond[0]}.jpg is beyond" if beyond else f"{len(lacking)} missing (first: {lacking[0]}.jpg)"
        raise UserError(f"{folder}: expected 1.jpg to {IMAGES}.jpg; {wrong}. Unpack the data again, or set {ALLOW}.")
    for index in sorted(found):
        yield Picture(theme, thing, index, ImageRef(path=found[index]))


# ---- parquet form -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ParquetPicture(ImageRef):
    """A picture in a cell of a parquet file, read when asked: the whole data are about 80 GB.

    path: for messages and as a name, "<file>, row N". The last row groups that were read are kept.
    """

    file: Path = Path()
    group: int = 0
    row: int = 0  # within the row group

    def read(self) -> bytes:
        """Encoded bytes of the cell. Raises UserError when it holds none."""
        cell = _images(self.file, self.group)[self.row].as_py()
        content = cell.get("bytes") if isinstance(cell, Mapping) else cell
        if not isinstance(content, bytes) or not content:
            raise UserError(f"{self.path}: column image holds no encoded picture. Fetch the file again.")
        return content


@lru_cache(maxsize=2)
def _images(file: Path, group: int) -> Any:
    from pyarrow import parquet

    return parquet.ParquetFile(file).read_row_group(group, columns=["image"]).column("image")


def _parquet(files: Sequence[Path], names: Names, strict: bool) -> Iterator[Picture]:
    counts: dict[tuple[str, str], int] = {}
    cells: dict[tuple[str, str], list[Picture]] = {}
    for file in files:
        for group, row, record in _captions(file):
            theme, thing = _named(record, names)
            if theme not in names.themes or thing not in names.objects:
                continue
            number = counts[theme, thing] = counts.get((theme, thing), 0) + 1
            image = ParquetPicture(path=Path(f"{file}, row {record.line}"), file=file, group=group, row=row)
            cells.setdefault((theme, thing), []).append(Picture(theme, thing, number, image))
    wanted = [(theme, thing) for theme in names.themes for thing in names.objects]
    wrong = [cell for cell in wanted if counts.get(cell, 0) != IMAGES]
    where = files[0].parent
    if not cells:
        raise UserError(f"{where}: no row of the {len(files)} parquet files belongs to a style of the benchmark.")
    if strict and wrong:
        theme, thing = wrong[0]
        raise UserError(
            f"{where}: {len(wrong):,} of {len(wanted):,} style-object pairs have not {IMAGES} pictures (first: "
            f"{theme}/{thing} has {counts.get(wrong[0], 0)}).\nFetch all 153 shards, or set {ALLOW}."
        )
    for cell in wanted:
        yield from cells.get(cell, ())


def _captions(file: Path) -> Iterator[tuple[int, int, Record]]:
    """(row group, row in it, record with `text`) of a file; pictures are not read."""
    import pyarrow
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file)
        columns = opened.schema_arrow.names
        for column in COLUMNS:
            if column not in columns:
                raise UserError(f"{file}: no column {column}. Columns: {', '.join(columns)[:200]}.")
        line = 0
        for group in range(opened.num_row_groups):
            texts = opened.read_row_group(group, columns=["text"]).column("text").to_pylist()
            for row, text in enumerate(texts):
                line += 1
                yield group, row, Record(file, line, {"text": text})
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{file}: not a readable parquet file ({reason}). Fetch it again.") from None


def _named(record: Record, names: Names) -> tuple[str, str]:
    """Style and object of a row, as the lists spell them; further styles keep their own names."""
    text = record["text"]
    parts = parse_caption(text) if isinstance(text, str) else None
    if parts is None:
        raise record.fault(f"text {text!r:.80} is not 'A {{object}} image in {{style}} style.'")
    theme = spelled(parts[0], (*names.themes, *ALL_THEMES))
    thing = spelled(parts[1], names.objects)
    if theme is None:
        raise record.fault(f"text names style {parts[0]!r}. {near_miss(parts[0], names.themes)}")
    if thing is None:
        raise record.fault(f"text names object {parts[1]!r}. {near_miss(parts[1], names.objects)}")
    return theme, thing
