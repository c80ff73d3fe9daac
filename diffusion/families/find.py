"""The family of a pipeline, by its class name in diffusers or by its short name."""

from mmunlearn.errors import UserError, near_miss

from .base import Family
from .flux import Flux
from .sd import Sd
from .sd3 import Sd3
from .sdxl import Sdxl

FAMILIES: dict[str, type[Family]] = {family.name: family for family in (Sd, Sdxl, Sd3, Flux)}


def family_named(name: str) -> Family:
    """By the short name after "scratch/". Raises UserError with a near miss."""
    if name not in FAMILIES:
        raise UserError(f"model.name: 'scratch/{name}' is unknown. {near_miss(name, FAMILIES)}")
    return FAMILIES[name]()


def family_of(pipeline: str, where: str) -> Family:
    """By the `_class_name` in a model_index.json. Raises UserError for a pipeline of another kind."""
    for family in FAMILIES.values():
        if family.pipeline == pipeline:
            return family()
    known = ", ".join(family.pipeline for family in FAMILIES.values())
    raise UserError(f"{where}: holds a {pipeline}, which is not supported. Supported: {known}.")
