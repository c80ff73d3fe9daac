"""JPEG bytes of a drawn picture."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

QUALITY = 92


def encode(picture: "Image") -> bytes:
    """JPEG at quality 92 without metadata, so equal pictures give equal bytes under one version of the library."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
