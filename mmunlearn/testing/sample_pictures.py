"""Pictures that the samples of judges name: the drawn world, photos that ordinary packages ship, and written words."""

import importlib.util
import tempfile
from functools import lru_cache
from pathlib import Path

from mmunlearn.testing.picture_world import STYLES, picture_path

# A portrait (public domain, US Navy) out of matplotlib and a flower (CC BY) out of scikit-learn.
PHOTOS = {"person": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
          "flower": ("sklearn", "datasets/images/flower.jpg")}  # fmt: skip
WIDTH_PX = 256
_FOLDERS: list[tempfile.TemporaryDirectory] = []  # kept as long as the process


def sample_picture(text: str, number: int) -> Path:
    """File of "<style>/<object>" of the world, "photo/<name>" or "words/<WORD>"; another number, another file."""
    kind, _, name = text.partition("/")
    if kind in STYLES:
        return picture_path(kind, name, number)
    return _made(kind, name, number)


def photo(name: str) -> Path:
    """The photo's own file."""
    package, inside = PHOTOS[name]
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / inside


@lru_cache(maxsize=64)
def _made(kind: str, name: str, number: int) -> Path:
    from PIL import Image, ImageDraw, ImageFont

    if not _FOLDERS:
        _FOLDERS.append(tempfile.TemporaryDirectory())
    path = Path(_FOLDERS[0].name) / f"{kind}-{name}-{number}.png"
    if kind == "photo":
        with Image.open(photo(name)) as picture:
            width = WIDTH_PX + number
            picture.resize((width, round(picture.height * width / picture.width))).convert("RGB").save(path)
        return path
    assert kind == "words", kind
    image = Image.new("RGB", (220 + number, 64), (250, 250, 250))
    ImageDraw.Draw(image).text((16, 12), name, fill=(10, 10, 10), font=ImageFont.load_default(32))
    image.save(path)
    return path
