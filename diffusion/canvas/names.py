"""The lists of UnlearnCanvas in the order that is the classifiers' label order, and names of a folder of data.

Source: UnlearnCanvas repository at 920cfd1, machine_unlearning/evaluation/constants/const.py.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmunlearn.errors import UserError, near_miss
from mmunlearn.mini_folder import TRUTH

NEUTRAL = "NO_BRAND"  # what stands for photographs in data of brands
PHOTOS = "Seed_Images"  # the photographic "style": index i of any style shows the same content as index i here

THEMES = tuple(
    """Abstractionism Artist_Sketch Blossom_Season Bricks Byzantine Cartoon Cold_Warm Color_Fantasy Comic_Etch Crayon
    Cubism Dadaism Dapple Defoliation Early_Autumn Expressionism Fauvism French Glowing_Sunset Gorgeous_Love Greenfield
    Impressionism Ink_Art Joy Liquid_Dreams Magic_Cube Meta_Physics Meteor_Shower Monet Mosaic Neon_Lines On_Fire Pastel
    Pencil_Drawing Picasso Pop_Art Red_Blue_Ink Rust Seed_Images Sketch Sponge_Dabbed Structuralism Superstring
    Surrealism Ukiyoe Van_Gogh Vibrant_Flow Warm_Love Warm_Smear Watercolor Winter""".split()  # noqa: SIM905
)  # fmt: skip
# With the ten styles that the data hold beside the tested fifty. Palette_Knife stands before Magic_Cube there.
ALL_THEMES = tuple(
    """Abstractionism Artist_Sketch Blossom_Season Blue_Blooming Bricks Byzantine Cartoon Cold_Warm Color_Fantasy
    Comic_Etch Crayon Crypto_Punks Cubism Dadaism Dapple Defoliation Dreamweave Early_Autumn Expressionism Fauvism
    Foliage_Patchwork French Glowing_Sunset Gorgeous_Love Greenfield Impasto Impressionism Ink_Art Joy Liquid_Dreams
    Palette_Knife Magic_Cube Meta_Physics Meteor_Shower Monet Mosaic Neon_Lines On_Fire Pastel Pencil_Drawing Picasso
    Pointillism Pop_Art Rainwash Realistic_Watercolor Red_Blue_Ink Rust Seed_Images Sketch Sponge_Dabbed Structuralism
    Superstring Surrealism Techno Ukiyoe Van_Gogh Vibrant_Flow Warm_Love Warm_Smear Watercolor Winter""".split()  # noqa: SIM905
)  # fmt: skip
FURTHER = tuple(name for name in ALL_THEMES if name not in THEMES)
OBJECTS = tuple(
    """Architectures Bears Birds Butterfly Cats Dogs Fishes Flame Flowers Frogs Horses Human Jellyfish Rabbits
    Sandwiches Sea Statues Towers Trees Waterfalls""".split()  # noqa: SIM905
)
IMAGES = 20  # of a style and object
SEEDS = (188, 288, 588, 688, 888)  # of the published answer sets


@dataclass(frozen=True)
class Names:
    """Themes (styles with Seed_Images among them) and objects of some data; a name's label is its place here."""

    themes: tuple[str, ...]
    objects: tuple[str, ...]

    @property
    def styles(self) -> tuple[str, ...]:
        """The themes that can be forgotten: all but Seed_Images."""
        return tuple(theme for theme in self.themes if theme != PHOTOS)

    def cut(self, styles: int | Sequence[str] | None, objects: int | Sequence[str] | None) -> "Names":
        """The first `styles` styles, or those named (Seed_Images stays), and the same of objects; None: all. UserError
        where there are fewer, or none of that name."""
        field = "benchmark.subset"
        kept = _chosen(self.styles, styles, f"{field}.styles", self.style)
        things = _chosen(self.objects, objects, f"{field}.objects", self.object)
        themes = tuple(theme for theme in self.themes if theme in kept or theme == PHOTOS)
        return Names(themes, tuple(thing for thing in self.objects if thing in things))

    def style(self, name: str, field: str) -> str:
        """`name` as the list spells it ("van gogh" is Van_Gogh); UserError with near misses, naming `field`."""
        found = spelled(name, self.themes)
        if found == PHOTOS:
            raise UserError(f"{field}: {PHOTOS} is what styles are compared with; it is never forgotten.")
        if found is None:
            raise UserError(f"{field}: no style {name!r} in the data. {near_miss(name, self.styles)}")
        return found

    def object(self, name: str, field: str) -> str:
        """`name` as the list of objects spells it; UserError with near misses, naming `field`."""
        found = spelled(name, self.objects)
        if found is None:
            raise UserError(f"{field}: no object {name!r} in the data. {near_miss(name, self.objects)}")
        return found


def _chosen(
    known: tuple[str, ...], wanted: int | Sequence[str] | None, field: str, find: Callable[[str, str], str]
) -> tuple[str, ...]:
    if wanted is None:
        return known
    if isinstance(wanted, int):
        if wanted > len(known):
            raise UserError(f"{field}: {wanted}, and the data hold {len(known)}.")
        return known[:wanted]
    return tuple(find(name, field) for name in wanted)


def spelled(name: str, known: Sequence[str]) -> str | None:
    """The entry of `known` that is `name` but for case, blanks and underscores."""
    folded = name.strip().replace("_", " ").casefold()
    return next((entry for entry in known if entry.replace("_", " ").casefold() == folded), None)


def words(name: str) -> str:
    """A style or object as prompts say it: underscores are blanks."""
    return name.replace("_", " ")


def names_of(root: Path, *, further: bool = False) -> Names:
    """Names of the data under `root`: the benchmark's lists, or those in a mini edition's mini.json.

    further: with the ten styles beside the tested fifty. Raises UserError for a mini.json that does not hold them.
    """
    file = root / TRUTH
    if not file.is_file():
        return Names(ALL_THEMES if further else THEMES, OBJECTS)
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not readable JSON ({error}). Build the mini edition again.") from None
    if not isinstance(content, Mapping):
        raise UserError(f"{file}: holds no mapping. Build the mini edition again.")
    return Names(_listed(file, content, "themes"), _listed(file, content, "objects"))


def _listed(file: Path, content: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = content.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        raise UserError(f"{file}: {key} is no list of names (got {value!r:.60}). Build the mini edition again.")
    if len(set(value)) != len(value) or any("/" in name or name.startswith(".") for name in value):
        raise UserError(f"{file}: {key} repeats a name or holds one that is no folder name. Build it again.")
    if key == "themes" and not {PHOTOS, NEUTRAL} & set(value):
        raise UserError(f"{file}: themes lacks {PHOTOS}. Build the mini edition again.")
    return tuple(value)
