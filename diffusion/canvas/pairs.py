"""Pictures that belong together: the photo that a styled picture restyles, and the tasks of style transfer.

Source: UnlearnCanvas repository at 920cfd1, style_transfer/README.md and evaluation/vgg_loss.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError

from .files import Canvas, Picture
from .names import PHOTOS

HELD_OUT = 2  # the last pictures of an object (19 and 20) are contents, the others (1 to 18) references of style


@dataclass(frozen=True)
class Transfer:
    """One task: draw `content` (a photo) in the style of `reference`. truth: the artist's own picture of the content.
    file: where the answer lies below the folder of answers."""

    style: str
    object: str
    content: ImageRef
    reference: ImageRef
    truth: ImageRef
    file: str


def contents(canvas: Canvas) -> dict[Picture, Picture]:
    """Every styled picture with its photo: the same object and index in Seed_Images. UserError without indices or
    where a photo is missing."""
    canvas.refuse_without_index("the pairing of styled pictures with their photos")
    photos = {(p.object, p.number): p for p in canvas.pictures if p.style == PHOTOS}
    found = {}
    for picture in canvas.pictures:
        if picture.style == PHOTOS:
            continue
        photo = photos.get((picture.object, picture.number))
        if photo is None:
            raise UserError(
                f"{canvas.root / PHOTOS / picture.object}: no picture {picture.number}, but {picture.style} has one. "
                "Unpack the data again."
            )
        found[picture] = photo
    return found


def transfers(canvas: Canvas) -> Iterator[Transfer]:
    """Tasks by style, object, content and reference: 60 x 20 x 2 x 18 = 43,200 with the ten further styles."""
    photo_of = contents(canvas)
    cells: dict[tuple[str, str], list[Picture]] = {}
    for picture in photo_of:
        cells.setdefault((picture.style, picture.object), []).append(picture)
    for (style, thing), pictures in cells.items():
        if len(pictures) <= HELD_OUT:
            raise UserError(f"{canvas.root / style / thing}: {len(pictures)} pictures leave no reference of style.")
        for truth in pictures[-HELD_OUT:]:
            for reference in pictures[:-HELD_OUT]:
                yield Transfer(
                    style, thing, photo_of[truth].image, reference.image, truth.image,
                    f"{style}/{thing}_test{truth.number}_ref{reference.number}.jpg",
                )  # fmt: skip
