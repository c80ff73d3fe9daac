"""Draws a person's picture: the avataaars parts of dicebear, rasterised by resvg."""

import functools
import io
import json
import re
from typing import TYPE_CHECKING, Any

from mmunlearn.assets import DICEBEAR_CORE, DICEBEAR_STYLES
from mmunlearn.avatars.looks import GREY, Look
from mmunlearn.avatars.persons import Colour, Person
from mmunlearn.rasterise import resvg

if TYPE_CHECKING:
    from PIL.Image import Image

CANVAS_PX = 280
_PLACED = re.compile(r'<use transform="translate\(([-\d. ]+)\)" href="#(\w+)-')
# Middle of each part that grows or moves, in the part's own pixels.
_CENTRES = {"eyes": (42.0, 18.0), "mouth": (46.0, 19.0)}


def draw(person: Person, look: Look, size_px: int) -> "Image":
    """The picture as RGB, size_px x size_px; the same person, look and size always give the same pixels."""
    from PIL import Image, ImageEnhance

    # bytes() because some versions of resvg-py answer with a list of integers.
    png = bytes(
        resvg()(svg_string=svg(person, look, size_px), background=_hex(look.background), skip_system_fonts=True)
    )
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    return ImageEnhance.Brightness(picture).enhance(look.light)


def svg(person: Person, look: Look, size_px: int) -> str:
    """The drawing as SVG text."""
    from dicebear import Avatar

    hair = _hex(_mix(person.hair, GREY, look.grey_frac))
    options: dict[str, Any] = {
        "seed": "avatar",
        "size": size_px,
        "skinColor": [_hex(person.skin)],
        "hairColor": [hair],
        "hatColor": [_hex(look.hat_colour)],
        "facialHairColor": [hair],
        "clothesColor": [_hex(look.clothes_colour)],
        "accessoriesColor": ["#262e33"],
        "topVariant": [look.top],
        "mouthVariant": [look.mouth],
        "eyesVariant": [look.eyes],
        "eyebrowsVariant": [look.brows],
        "clothesVariant": [look.clothes],
        "facialHairProbability": 100 if look.facial_hair else 0,
        "accessoriesProbability": 100 if look.accessory else 0,
        "flip": "horizontal" if look.flip else "none",
    }
    if look.facial_hair:
        options["facialHairVariant"] = [look.facial_hair]
    if look.accessory:
        options["accessoriesVariant"] = [look.accessory]
    text = Avatar(_style(), options).to_string()
    text = re.sub(r"<metadata.*?</metadata>", "", text, flags=re.S)
    head, body = text.split("</defs>", 1)
    return head + "</defs>" + _posed(_shaped(body, person, look), look)


def _shaped(body: str, person: Person, look: Look) -> str:
    """Moves and sizes the parts of the face, and adds the lines of age."""
    child = look.childlike_frac
    shapes = {
        "eyes": (person.eye_scale * (1 + 0.5 * child), person.eye_drop_px + 7 * child),
        "eyebrows": (1.0, person.eye_drop_px + 2 * child),
        "mouth": (1 - 0.2 * child, person.mouth_drop_px + 2 * child),
    }

    def place(match: re.Match[str]) -> str:
        at, part = match[1], match[2]
        if part not in shapes:
            return match[0]
        scale, drop = shapes[part]
        x, y = _CENTRES.get(part, (0.0, 0.0))
        moved = f"translate({at}) translate(0 {drop:.2f}) translate({x} {y}) scale({scale:.3f}) translate({-x} {-y})"
        return f'<use transform="{moved}" href="#{part}-'

    body = _PLACED.sub(place, body)
    marks = _blush(child) + _wrinkles(look.wrinkles_frac)
    before_hair = body.index("<use", body.index("#eyebrows-"))
    return body[:before_hair] + marks + body[before_hair:]


def _posed(body: str, look: Look) -> str:
    """Zooms, turns and moves the whole figure; a small figure keeps its shoulders at the lower edge."""
    half = CANVAS_PX / 2
    lower = half * (1 - look.zoom) + 24 if look.zoom < 1 else 24.0
    clipped = body.index(">") + 1
    end = body.rindex("</g>")
    move = (
        f"translate({half + look.shift_x_px:.2f} {half + lower + look.shift_y_px:.2f}) "
        f"rotate({look.rotate_deg:.2f}) scale({look.zoom:.3f}) translate({-half} {-half})"
    )
    return f'<g transform="{move}">{body[clipped:end]}</g></svg>'


def _blush(frac: float) -> str:
    if frac <= 0:
        return ""
    dots = "".join(f'<circle cx="{x}" cy="138" r="10"/>' for x in (104, 176))
    return f'<g fill="#ff5c5c" fill-opacity="{0.5 * frac:.3f}">{dots}</g>'


def _wrinkles(frac: float) -> str:
    """Lines on the forehead, beside and under the eyes, and from nose to mouth."""
    if frac <= 0:
        return ""
    lines = (
        "M108 72q32-6 64 0 M112 64q28-5 56 0 M104 127q10 5 20 1 M156 128q10 4 20-1 "
        "M94 108l-7-4 M94 113l-8 1 M186 108l7-4 M186 113l8 1 M120 136q-8 8-9 18 M160 136q8 8 9 18"
    )
    return f'<path d="{lines}" fill="none" stroke="#000" stroke-width="3.6" stroke-opacity="{0.75 * frac:.3f}"/>'


@functools.cache
def _style() -> Any:
    """The checked avataaars definition; half a second to build, so once a process."""
    DICEBEAR_CORE.ensure()
    from dicebear import Style

    definition = DICEBEAR_STYLES.ensure() / "avataaars.json"
    return Style(json.loads(definition.read_text("utf-8")))


def _mix(one: Colour, other: Colour, frac: float) -> Colour:
    red, green, blue = (round(a + (b - a) * frac) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
