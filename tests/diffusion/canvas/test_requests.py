"""Requests: what they name, what is refused, which words stand for them."""

import pytest
from mmunlearn.diffusion.canvas.names import OBJECTS, THEMES, Names
from mmunlearn.diffusion.canvas.requests import Concept, Request, Surrogate, any_holds, concepts

from mmunlearn.errors import UserError
from mmunlearn.settings import build

NAMES = Names(THEMES, OBJECTS)


def asked(kind, name, surrogate=None):
    request = build(Request, {"kind": kind, "name": name}, "benchmark.request")
    return concepts(request, NAMES, surrogate or Surrogate(), "benchmark.request")


def test_a_style():
    (concept,) = asked("style", "van gogh")
    assert ("style", "Van_Gogh", "Van Gogh", "Photo") == (
        concept.kind, concept.title, concept.phrase, concept.surrogate
    )  # fmt: skip
    assert concept.holds("Van_Gogh", "Dogs") and not concept.holds("Monet", "Dogs")
    assert "A Dogs image in Photo style." == concept.replaced("Van_Gogh", "Dogs", "trained")


def test_an_object_gives_way_to_the_next_of_the_list():
    (concept,) = asked("object", "Dogs")
    assert ("object", "Dogs", "Fishes") == (concept.kind, concept.phrase, concept.surrogate)
    assert "A Fishes image in Van Gogh style." == concept.replaced("Van_Gogh", "Dogs", "trained")
    assert "Architectures" == asked("object", "Waterfalls")[0].surrogate
    assert "Elephant" == asked("object", "Dogs", Surrogate(object="Elephant"))[0].surrogate


def test_a_pair_is_one_object_in_one_style():
    (concept,) = asked("pair", "Van_Gogh/Dogs")
    assert ("pair", "Van_Gogh/Dogs") == (concept.kind, concept.title)
    assert concept.phrase in "A Dogs image in Van Gogh style." and "Dogs image in Photo" == concept.surrogate
    assert concept.holds("Van_Gogh", "Dogs")
    assert not concept.holds("Van_Gogh", "Cats") and not concept.holds("Monet", "Dogs")
    assert "A Dogs image in Photo style." == concept.replaced("Van_Gogh", "Dogs", "trained")


def test_a_sequence_holds_any_of_its_entries():
    found = asked("sequence", ["Van_Gogh", "Dogs", "Monet/Cats", {"kind": "style", "name": "Rust"}])
    assert ["style", "object", "pair", "style"] == [concept.kind for concept in found]
    shown = {cell: any_holds(found, *cell) for cell in (("Rust", "Sea"), ("Monet", "Cats"), ("Monet", "Sea"))}
    assert {("Rust", "Sea"): True, ("Monet", "Cats"): True, ("Monet", "Sea"): False} == shown


def test_without_a_request_the_first_style():
    assert (Concept("Abstractionism", None, "Photo"),) == concepts(None, NAMES, Surrogate(), "benchmark.request")


@pytest.mark.parametrize("concept", [asked("style", n)[0] for n in THEMES if n != "Seed_Images"] + [
    asked("object", n)[0] for n in OBJECTS], ids=lambda c: c.title)  # fmt: skip
def test_the_phrase_stands_in_the_prompts_that_name_the_concept(concept):
    from mmunlearn.diffusion.canvas.prompts import prompt

    said = prompt(concept.style or "Monet", concept.object or "Sea", "trained")
    assert 1 == said.count(concept.phrase)
    assert said.replace(concept.phrase, concept.surrogate) == concept.replaced(
        concept.style or "Monet", concept.object or "Sea", "trained"
    )


@pytest.mark.parametrize(
    ("kind", "name", "fragment"),
    [
        ("style", "Van_Gough", "no style 'Van_Gough'.*Did you mean Van_Gogh"),
        ("style", "Dogs", "no style 'Dogs'"),
        ("style", "Seed_Images", "never forgotten"),
        ("style", ["Van_Gogh"], "one name for the other kinds"),
        ("object", "Elephant", "no object 'Elephant'"),
        ("object", "Dog", "no object 'Dog'.*Did you mean Dogs"),
        ("pair", "Van_Gogh", "Write style/object"),
        ("pair", "Van_Gogh/", "is no pair"),
        ("pair", "Dogs/Van_Gogh", "no style 'Dogs'"),
        ("pair", "Van_Gogh/Elephant", "no object 'Elephant'"),
        ("sequence", "Van_Gogh", "a list for kind sequence"),
        ("sequence", [], "empty list"),
        ("sequence", ["Van_Gogh", "Elephants"], "'Elephants' is no style, object or style/object"),
        ("sequence", ["Van_Gogh", "van gogh"], "Van_Gogh stands there twice"),
        ("sequence", [{"kind": "colour", "name": "red"}], "is no {kind: style, object or pair"),
        ("sequence", [{"name": "Van_Gogh"}], "is no {kind: style, object or pair"),
        ("colour", "red", "benchmark.request.kind"),
    ],
)
def test_what_is_not_in_the_data_is_refused(kind, name, fragment):
    with pytest.raises(UserError, match=fragment) as caught:
        asked(kind, name)
    assert "benchmark.request" in str(caught.value) and 1 <= len(str(caught.value).splitlines()) <= 4
