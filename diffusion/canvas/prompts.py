"""Prompts of UnlearnCanvas: the form of the published answer sets, and the other forms of its repository by name.

Source: UnlearnCanvas repository at 920cfd1; evaluation/sampling_unlearned_models/*.py (benchmark, underscores),
diffusion_model_finetuning/dataset_preparation.py (trained, diffusers), machine_unlearning/README.md (readme).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from .names import PHOTOS, spelled, words

PHOTO = "Photo"  # how captions call Seed_Images


@dataclass(frozen=True)
class Form:
    """A way to word a prompt. photos: the words for Seed_Images. an: "always", "vowel" or "never" (it is "A")."""

    template: str
    photos: str
    an: str = "never"
    blanks: bool = True


# benchmark: the samplers of unlearned models, which ask for the 51st theme by a phrase that was never trained.
# trained: captions of the CompVis path and the base model's sampler, the same with Photo. diffusers: metadata.jsonl,
# "An" before Architectures alone. underscores: the sampler of FMN, names as they are and no full stop.
FORMS: Mapping[str, Form] = {
    "benchmark": Form("{article} {object} image in {style} style.", "Seed Images"),
    "trained": Form("{article} {object} image in {style} style.", PHOTO),
    "diffusers": Form("{article} {object} image in {style} style", "photo", an="vowel"),
    "readme": Form("{article} {object} image in {style} style.", PHOTO, an="always"),
    "underscores": Form("{article} {object} image in {style} style", PHOTOS, blanks=False),
}
_CAPTION = re.compile(r"an?\s+(?P<object>.+?)\s+image\s+in\s+(?P<style>.+?)\s+style\s*\.?", re.IGNORECASE)


@cache
def prompt(style: str, thing: str, form: str = "trained") -> str:
    """The prompt for `thing` in `style`; names as the lists have them, or any words."""
    rule = FORMS[form]
    said = rule.photos if style == PHOTOS else words(style) if rule.blanks else style
    shown = words(thing) if rule.blanks else thing
    an = rule.an == "always" or (rule.an == "vowel" and thing == "Architectures")
    return rule.template.format(article="An" if an else "A", object=shown, style=said)


def style_words(style: str) -> str:
    """A theme as captions say it: "Van Gogh"; Seed_Images is "Photo"."""
    return PHOTO if style == PHOTOS else words(style)


def parse_caption(text: str) -> tuple[str, str] | None:
    """(style, object) as the caption words them, Seed_Images for "photo" and "seed images"; None for another text."""
    found = _CAPTION.fullmatch(text.strip())
    if found is None:
        return None
    style = found["style"]
    return PHOTOS if spelled(style, (PHOTO, PHOTOS)) else style, found["object"]
