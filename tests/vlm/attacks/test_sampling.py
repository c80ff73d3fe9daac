"""Samples of the plain question: drawn afresh each, and only the candidates are drawn."""

from mmunlearn.vlm.attacks.sampling import Sampling
from mmunlearn.vlm.toy import toy_handle, toy_splits

from mmunlearn.handle import Decoding
from mmunlearn.judges.keywords import Keywords


def test_only_candidates_are_drawn(scripted):
    attack = Sampling({"candidates": 3, "temperature": 0.7, "top_p": 0.9})
    handle = scripted.Scripted()

    scripted.attacked(attack, handle, scripted.goals[:1])

    assert [(0.7, 0.9)] * 3 + [(0.0, None)] == sorted(
        ((how.temperature, how.fields.get("top_p")) for _, how in handle.asked), key=lambda pair: -pair[0]
    )


def test_what_is_seldom_said_comes_back_with_the_budget(scripted):
    """A model that gives itself away at its fourth draw."""
    handle = scripted.hiding(lambda example: not example.id.endswith("#3"))

    (outcome,) = scripted.attacked(Sampling({"candidates": 5}), handle, scripted.goals[:1])

    assert [0.0, 0.0, 0.0, 1.0, 1.0] == [outcome.success_at(b) for b in range(1, 6)]


def test_draws_of_a_real_model_differ_by_number_and_not_by_company():
    handle, goals = toy_handle(), toy_splits()["forget"].examples[:3]
    attack, judge, how = Sampling({"candidates": 3, "temperature": 2.0}), Keywords(), Decoding(max_new_tokens=4)

    together = list(attack.run(handle, goals, judge, how, 0))
    (alone,) = attack.run(handle, goals[2:], judge, how, 0)

    texts = [t.answer["text"] for t in together[2].tries]
    assert len(set(texts)) > 1
    assert texts == [t.answer["text"] for t in alone.tries]
