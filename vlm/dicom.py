"""DICOM pictures as PNG: what medical data sets hold in place of ordinary picture files."""

import io
from typing import Any

import numpy as np

from mmunlearn.errors import UserError


def is_dicom(content: bytes) -> bool:
    """Whether the bytes begin as a DICOM file does: 128 bytes of anything, then the letters DICM."""
    return content[128:132] == b"DICM"


def to_png(content: bytes, where: str) -> bytes:
    """The (first) frame in grey, its smallest value black and its largest white; MONOCHROME1 is turned over.

    where: names the row in errors. Raises UserError when pydicom is missing or the file holds no readable picture.
    """
    try:
        import pydicom
    except ImportError:
        raise UserError(
            f"{where}: the picture is a DICOM file and the package pydicom is not installed.\n"
            "Install it: pip install pydicom (compressed files need pylibjpeg too), or convert the pictures to PNG."
        ) from None
    from PIL import Image

    try:
        found: Any = pydicom.dcmread(io.BytesIO(content))
        values = np.asarray(found.pixel_array, dtype=np.float64)
    except Exception as error:  # pydicom raises errors of a dozen kinds, those of its decoders included
        raise UserError(f"{where}: not a readable DICOM picture ({str(error)[:120]}).") from None
    return _png(values, inverted=str(getattr(found, "PhotometricInterpretation", "")) == "MONOCHROME1", image=Image)


def _png(values: np.ndarray, *, inverted: bool, image: Any) -> bytes:
    if values.ndim == 3 and values.shape[-1] not in (3, 4):
        values = values[0]
    low, high = float(values.min()), float(values.max())
    grey = (values - low) / (high - low) * 255 if high > low else np.zeros_like(values)
    if inverted:
        grey = 255 - grey
    buffer = io.BytesIO()
    image.fromarray(np.rint(grey).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
