"""SVG to pixels by resvg, and single icons of the pinned Iconify sets."""

import functools
import io
import json
from typing import TYPE_CHECKING, Any

from mmunlearn.assets import ASSETS
from mmunlearn.errors import UserError, near_miss

if TYPE_CHECKING:
    from PIL.Image import Image


@functools.cache
def resvg() -> Any:
    """The function `svg_to_bytes` of resvg-py. Raises UserError when the package is missing."""
    try:
        from resvg_py import svg_to_bytes
    except ImportError as missing:
        raise UserError(
            "drawings: the package resvg-py is not installed.\n"
            "Install it: pip install resvg-py (or: pip install 'mmunlearn[mini]')"
        ) from missing
    return svg_to_bytes


def icon(asset: str, name: str, size_px: int) -> "Image":
    """An icon as RGBA, its longer side `size_px`. Raises UserError for an icon that the set does not hold."""
    from PIL import Image

    icons = _icons(asset)
    if name not in icons["icons"]:
        raise UserError(f"{asset}: no icon {name!r}. {near_miss(name, icons['icons'])}")
    entry = icons["icons"][name]
    width = entry.get("width", icons.get("width", 16))
    height = entry.get("height", icons.get("height", 16))
    scale = size_px / max(width, height)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{round(width * scale)}" height="{round(height * scale)}" viewBox="0 0 {width} {height}">'
        f"{entry['body']}</svg>"
    )
    # bytes() because some versions of resvg-py answer with a list of integers.
    return Image.open(io.BytesIO(bytes(resvg()(svg_string=svg, skip_system_fonts=True)))).convert("RGBA")


@functools.cache
def _icons(asset: str) -> dict[str, Any]:
    return json.loads((ASSETS[asset].ensure() / "icons.json").read_text("utf-8"))


def icon_names(asset: str) -> list[str]:
    """Names of a set's icons, in its own order."""
    return list(_icons(asset)["icons"])
