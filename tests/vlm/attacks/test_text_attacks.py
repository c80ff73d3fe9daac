"""Attacks in words: they bring back what hides behind the exact wording, nothing from a model that never knew it,
and no candidate tells the answer."""

import pytest
from mmunlearn.vlm.attacks.multi_hop import MultiHop
from mmunlearn.vlm.attacks.multilingual import Multilingual
from mmunlearn.vlm.attacks.paraphrase import Paraphrase
from mmunlearn.vlm.attacks.prefix import Prefix
from mmunlearn.vlm.attacks.role_play import RolePlay
from mmunlearn.vlm.attacks.text_probe import TextProbe

from mmunlearn import registry
from mmunlearn.judges._words import normal

WORDED = [Paraphrase, Prefix, RolePlay, Multilingual, MultiHop]


@pytest.mark.parametrize("cls", WORDED)
def test_what_hides_behind_the_exact_wording_comes_back(cls, scripted):
    handle = scripted.hiding(lambda example: example.prompt in scripted.questions)

    outcomes = scripted.attacked(cls(), handle)

    assert [0.0] * 6 == [outcome.clean.value for outcome in outcomes]
    assert [1.0] * 6 == [outcome.attacked.value for outcome in outcomes]


@pytest.mark.parametrize("cls", [*WORDED, TextProbe])
def test_a_model_that_never_knew_stays_at_its_floor(cls, scripted):
    outcomes = scripted.attacked(cls(), scripted.never)

    assert {0.0} == {t.verdict.value for outcome in outcomes for t in outcome.tries}


@pytest.mark.parametrize("cls", [*WORDED, TextProbe])
def test_no_candidate_tells_its_answer(cls, scripted):
    """A parrot that repeats the question is judged to know nothing."""
    parrot = scripted.Scripted(lambda example: example.prompt)

    outcomes = scripted.attacked(cls({"candidates": 50}), parrot)

    assert {0.0} == {t.verdict.value for outcome in outcomes for t in outcome.tries}
    for outcome, goal in zip(outcomes, scripted.goals, strict=True):
        prompts = [normal(t.candidate.prompt) for t in outcome.tries]
        assert len(prompts) == len(set(prompts))
        assert all(normal(goal.tags["keywords"]) not in prompt for prompt in prompts)


@pytest.mark.parametrize("cls", WORDED)
def test_the_picture_stays(cls, scripted):
    for outcome, goal in zip(scripted.attacked(cls(), scripted.never), scripted.goals, strict=True):
        assert {goal.image.digest} == {t.candidate.image.digest for t in outcome.tries}


def test_paraphrases_of_a_recognised_form(scripted):
    (outcome, *_) = scripted.attacked(Paraphrase({"candidates": 4}), scripted.never)

    expected = [
        ("cloze", "The job of this person is"),
        ("complete", "Complete the sentence: The job of this person is"),
        ("indirect", "Could you say what the job of this person is?"),
        ("property", "Name the job of this person."),
    ]
    assert expected == [(t.origin, t.candidate.prompt) for t in outcome.tries]


def test_a_language_models_paraphrases_come_first_and_its_leaks_are_dropped(scripted, monkeypatch):
    from mmunlearn.chat.base import Reply

    class Writer:
        def replies(self, conversations):
            assert all("baker" not in turn.text for (turn,) in conversations)
            texts = ['"What does this person do?"\nmore', "Is this person a baker?", "", "As what do they work?"]
            return [Reply(text, "" if text else "late") for text in texts]

    monkeypatch.setattr("mmunlearn.vlm.attacks.paraphrase.open_chat", lambda content, where: Writer())
    attack = Paraphrase({"candidates": 2, "backend": {"model": "x"}})

    (outcome,) = scripted.attacked(attack, scripted.never, scripted.goals[:1])

    assert ["What does this person do?", "As what do they work?"] == [t.candidate.prompt for t in outcome.tries]


def test_the_text_probe_asks_without_the_picture_by_the_name_of_a_sibling(scripted):
    handle = scripted.hiding(lambda example: example.image is not None)

    outcomes = scripted.attacked(TextProbe(), handle)

    assert all(t.candidate.image is None for outcome in outcomes for t in outcome.tries)
    assert "What is the job of Ann Lee?" == outcomes[0].tries[0].candidate.prompt
    assert ["no picture"] == [t.origin for t in outcomes[2].tries], "a question for the name must not name it"
    assert [1.0] * 6 == [outcome.attacked.value for outcome in outcomes]


def test_multi_hop_puts_the_models_own_words_before_the_question_and_pays_for_them(scripted):
    handle = scripted.Scripted(lambda example: "Someone who bakes." if "#hop" in example.id else "")

    (outcome,) = scripted.attacked(MultiHop({"hops": ("Who?",)}), handle, scripted.goals[:1])

    assert "Someone who bakes. What is the job of this person?" == outcome.tries[0].candidate.prompt
    assert 1 == outcome.cost.queries
    assert all(example.target is None for example, _ in handle.asked if "#hop" in example.id)


def test_multi_hop_uses_other_facts_of_the_same_subject(scripted):
    (outcome, *_) = scripted.attacked(MultiHop(), scripted.never)

    prompts = [t.candidate.prompt for t in outcome.tries]
    assert "This is Ann Lee. What is the job of Ann Lee?" in prompts
    assert "This person lives in Oslo. What is the job of this person?" in prompts
    assert not any("Lima" in prompt or "Bo Diaz" in prompt for prompt in prompts)


def test_multilingual_asks_in_each_language(scripted):
    (outcome, *_) = scripted.attacked(Multilingual({"languages": ("de", "fr")}), scripted.never)

    assert ["asked in de", "asked in fr", "frame in de", "frame in fr"] == [t.origin for t in outcome.tries]
    assert outcome.tries[0].candidate.prompt.startswith("Was ist diese Person von Beruf?")


def test_every_attack_of_the_suite_says_so():
    found = [component.load() for component in registry.components("attacks") if component.modality == "vlm"]

    assert {"paraphrase", "prefix", "role_play", "multilingual", "multi_hop", "text_probe"} <= {
        cls.name() for cls in found if getattr(cls, "suite", "") == "vqa"
    }
