"""Wording of prompts, and captions read back."""

import pytest
from mmunlearn.diffusion.canvas.names import OBJECTS, PHOTOS, THEMES, spelled
from mmunlearn.diffusion.canvas.prompts import FORMS, parse_caption, prompt, style_words


@pytest.mark.parametrize(
    ("form", "styled", "photo", "building"),
    [
        ("benchmark", "A Dogs image in Van Gogh style.", "A Dogs image in Seed Images style.",
         "A Architectures image in Van Gogh style."),
        ("trained", "A Dogs image in Van Gogh style.", "A Dogs image in Photo style.",
         "A Architectures image in Van Gogh style."),
        ("diffusers", "A Dogs image in Van Gogh style", "A Dogs image in photo style",
         "An Architectures image in Van Gogh style"),
        ("readme", "An Dogs image in Van Gogh style.", "An Dogs image in Photo style.",
         "An Architectures image in Van Gogh style."),
        ("underscores", "A Dogs image in Van_Gogh style", "A Dogs image in Seed_Images style",
         "A Architectures image in Van_Gogh style"),
    ],
)  # fmt: skip
def test_forms(form, styled, photo, building):
    assert styled == prompt("Van_Gogh", "Dogs", form)
    assert photo == prompt(PHOTOS, "Dogs", form)
    assert building == prompt("Van_Gogh", "Architectures", form)


@pytest.mark.parametrize("form", FORMS)
def test_every_prompt_is_read_back(form):
    for theme in THEMES:
        for thing in OBJECTS:
            style, found = parse_caption(prompt(theme, thing, form))
            assert (theme, thing) == (spelled(style, THEMES), found)


@pytest.mark.parametrize("text", ["", "Dogs in Van Gogh style", "A Dogs image", "A photo of a dog."])
def test_other_texts_are_no_captions(text):
    assert parse_caption(text) is None


def test_how_captions_call_a_theme():
    assert ("Photo", "Van Gogh") == (style_words(PHOTOS), style_words("Van_Gogh"))
