"""Attacks of UnLOK-VQA: candidate sets against the rank test of the reference, budgets, pairings, collateral tuning."""

from contextlib import nullcontext
from copy import copy, deepcopy
from dataclasses import replace

import pytest
import torch
from mmunlearn.vlm.attacks._lens import first_token, hits
from mmunlearn.vlm.attacks._spread import spread
from mmunlearn.vlm.attacks.early_exit import EarlyExit
from mmunlearn.vlm.attacks.fine_tune_after_edit import FineTuneAfterEdit
from mmunlearn.vlm.attacks.head_projection_readout import HeadProjectionReadout
from mmunlearn.vlm.attacks.image_rephrase import ImageRephrase
from mmunlearn.vlm.attacks.multimodal import Multimodal
from mmunlearn.vlm.attacks.probability_delta import ProbabilityDelta
from mmunlearn.vlm.attacks.question_rephrase import QuestionRephrase
from mmunlearn.vlm.attacks.second_difference import SecondDifference
from mmunlearn.vlm.logit_lens import blocks, decoder, read, states
from mmunlearn.vlm.response_rows import complete
from mmunlearn.vlm.telling import telling_word
from mmunlearn.vlm.toy import toy_handle, toy_splits
from mmunlearn.vlm.unlok.wording import PREFIXES, fact_prompt, other_prompt

from mmunlearn.attacks.base import Metered
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding
from mmunlearn.testing.method_checks import toy


@pytest.fixture(scope="module")
def handle():
    return toy_handle()


@pytest.fixture(scope="module")
def goals():
    return toy_splits()["forget"].examples[:4]


def _read(attack, handle, goals):
    return attack.read(Metered(handle, attack.access), goals, 0)


@pytest.mark.parametrize(
    ("cls", "order", "bottom"),
    [(HeadProjectionReadout, 0, False), (ProbabilityDelta, 1, True), (SecondDifference, 2, True)],
)
@pytest.mark.parametrize("k", [2, 300])
def test_the_set_holds_the_answer_exactly_when_its_rank_is_below_k(handle, goals, cls, order, bottom, k):
    p = read(handle, states(handle, goals)).exp()
    rows = p if order == 0 else p[:, 1:] - p[:, :-1]
    rows = rows if order < 2 else rows[:, 1:] - rows[:, :-1]
    for readings, own, goal in zip(_read(cls({"k": k, "place": "first"}), handle, goals), rows, goals, strict=True):
        token = first_token(handle, goal)
        assert hits(own, token, k, bottom=bottom) == any(r.hit for r in readings)
        ends = 2 if bottom else 1
        assert k <= len(readings) <= len(own) * k * ends


def test_the_best_of_every_row_come_first(handle, goals):
    (readings, *_) = _read(HeadProjectionReadout({"k": 2, "place": "first"}), handle, goals)
    p = read(handle, states(handle, goals[:1]))[0]
    best = {handle.tokenizer.decode([int(row.argmax())]) for row in p}
    assert best == {r.text for r in readings[: len(best)]}


def test_the_reference_finds_at_least_what_is_tied(handle, goals):
    sets = _read(HeadProjectionReadout({"k": 1, "reference": True}), handle, goals)
    for readings, goal in zip(sets, goals, strict=True):
        ids = handle.tokenizer(goal.target, add_special_tokens=False).input_ids
        assert first_token(handle, goal, reference=True) == ids[0]
        assert len({r.text for r in readings}) == len(readings)


def test_a_model_that_knows_the_answers_shows_them_and_an_ignorant_one_does_not():
    task = toy("vlm")
    known, goals = task.original, task.splits["forget"].examples
    rate = [
        sum(any(r.hit for r in own) for own in _read(HeadProjectionReadout({"k": 1}), model, goals)) / len(goals)
        for model in (known, toy_handle(seed=3))
    ]
    assert rate[0] == 1.0 and rate[1] <= 0.25


def test_of_a_sentence_the_whole_telling_word_must_be_found():
    """Against a literal loop: words before it forced, its first token in the set, each further one the likeliest."""
    task = toy("vlm")
    model, taught = task.original, task.splits["forget"].examples
    # The telling word: the whole of what was taught; the same with an untaught word; without its first word.
    told = {goal.id: goal.target for goal in taught}
    goals = [replace(goal, tags={"keywords": told[goal.id]}) for goal in taught]
    longer = {g.id: f"{g.target} zebra" for g in taught}
    goals += [replace(g, id=g.id + "+", target=longer[g.id], tags={"keywords": longer[g.id]}) for g in taught]
    goals += [replace(g, id=g.id + "-", tags={"keywords": g.target.partition(" ")[2]}) for g in taught]
    found = _read(HeadProjectionReadout({"k": 1, "place": "telling"}), model, goals)
    outcomes = {"": [], "+": [], "-": []}
    for goal, readings in zip(goals, found, strict=True):
        word = telling_word(model, goal)
        assert model.tokenizer.decode(list(word.ids[word.place :])).strip() == goal.tags["keywords"]
        rows = read(model, states(model, [goal], prompts=[word.ids[: word.place]]))[0]
        inside = bool((rows.argmax(dim=-1) == word.ids[word.place]).any())
        likeliest = [
            int(read(model, states(model, [goal], prompts=[word.ids[:place]]))[0, -1].argmax()) == word.ids[place]
            for place in range(word.place + 1, len(word.ids))
        ]
        hit = any(r.hit for r in readings)
        assert hit == (inside and all(likeliest))
        outcomes[goal.id[-1] if goal.id[-1] in "+-" else ""].append(hit)
    assert all(outcomes[""]) and all(outcomes["-"]) and not any(outcomes["+"])


def test_early_exits_answer_as_a_model_that_ends_there(handle, goals):
    """Against a copy of the model whose later blocks are cut off for good."""
    attack = EarlyExit({"candidates": 9, "max_new_tokens": 5})
    meter = Metered(handle, attack.access)
    found = attack.answers(meter, goals, 0)
    count = len(blocks(handle))
    assert count >= 2 and all([f"state {n}" for n in range(1, count)] == [a.origin for a in own] for own in found)
    twin = deepcopy(handle.module)
    short = copy(handle)
    short.module = twin
    decoder(short).layers = decoder(short).layers[:1]
    texts = complete(short, goals, Decoding(max_new_tokens=5), 0, around=lambda *_: nullcontext())
    assert texts == [own[0].fields["text"] for own in found]
    assert len(blocks(handle)) == count and meter.by_goal[goals[0].id].queries == count - 1


def test_no_exit_behind_the_last_block(handle, goals):
    with pytest.raises(UserError, match="layers"):
        EarlyExit({"layers": [len(blocks(handle))]}).answers(Metered(handle, EarlyExit.access), goals, 0)


def test_too_few_layers_for_a_difference_are_refused(handle, goals):
    with pytest.raises(UserError, match="2 states have no such difference"):
        _read(SecondDifference({"layers": [0, 1]}), handle, goals)


def test_fine_tuning_changes_what_is_read_and_counts_its_steps(handle, goals):
    attack = FineTuneAfterEdit({"on": "sample", "edit": {"lr": 0.2, "steps": 3}})
    meter = Metered(handle, attack.access)
    weights = {n: t.clone() for n, t in handle.module.state_dict().items()}
    tuned = attack.read(meter, goals[:2], 0)
    plain = _read(HeadProjectionReadout(), handle, goals[:2])
    assert [[r.text for r in own] for own in tuned] != [[r.text for r in own] for own in plain]
    assert meter.by_goal[goals[0].id].gradient_steps == 3
    assert all(torch.equal(t, weights[n]) for n, t in handle.module.state_dict().items())
    assert all(p.grad is None for p in handle.module.parameters())


def test_without_steps_fine_tuning_is_head_projection(handle, goals):
    tuned = _read(FineTuneAfterEdit({"edit": {"steps": 0}}), handle, goals)
    assert tuned == _read(HeadProjectionReadout(), handle, goals)


def test_neighbours_are_taught_with_the_goal_s_picture(goals):
    goal = replace(goals[0], tags={"neighbours": "What colour?\tred\nHow many?\ttwo"})
    rows = FineTuneAfterEdit()._taught(goal)
    assert [(row.prompt, row.target) for row in rows] == [
        (other_prompt("What colour?"), "red"), (other_prompt("How many?"), "two"),
    ]  # fmt: skip
    assert all(row.image == goal.image for row in rows)


def _trials(attack, goal):
    return sorted(attack.search(None, [goal], 0), key=lambda trial: -trial.promise)


@pytest.mark.parametrize("kind", ["prefix", "paraphrase", "jailbreak"])
@pytest.mark.parametrize("cls", [QuestionRephrase, Multimodal])
def test_budgets_are_equal(goals, kind, cls):
    goal = replace(goals[0], prompt=fact_prompt("Why?"))
    assert 20 == len(_trials(cls({"kind": kind}), goal)) == len(_trials(ImageRephrase(), goal))


def test_prefixes_stand_before_the_question_and_are_the_last_four(goals):
    goal = replace(goals[0], prompt=fact_prompt("Why?"))
    found = [t.candidate.prompt for t in _trials(QuestionRephrase({"kind": "prefix"}), goal)]
    assert found[:4] == [fact_prompt(prefix + "Why?") for prefix in PREFIXES[1:]]
    assert found[4:8] == found[:4]


def test_paraphrases_are_the_benchmark_s(goals):
    goal = replace(goals[0], prompt=fact_prompt("Why?"), tags={"rephrasings": "How?\nSo?"})
    found = {t.candidate.prompt for t in _trials(QuestionRephrase({"kind": "paraphrase"}), goal)}
    assert found == {other_prompt("How?"), other_prompt("So?")}
    plain = {t.candidate.prompt for t in _trials(QuestionRephrase({"kind": "paraphrase"}), replace(goal, tags={}))}
    assert len(plain) == 4 and all("Why?" in prompt for prompt in plain)


def test_missing_images_are_left_out_and_replaced_only_by_the_reference(goals):
    for reference, kinds in ((False, 2), (True, 4)):
        trials = _trials(ImageRephrase({"reference": reference}), goals[0])
        assert len({t.origin.rpartition(", ")[0] for t in trials}) == kinds
    only = _trials(ImageRephrase({"level": "easy", "only": True}), goals[0])
    assert len({t.candidate.image.digest for t in only}) == 1
    assert only[0].candidate.image.digest != goals[0].image.digest


def test_all_pairs_come_once_before_any_comes_twice(goals):
    prompts, pictures = [(f"p{i}", f"p{i}") for i in range(4)], [(f"k{i}", goals[i].image) for i in range(4)]
    pairs = [t.origin.rpartition(",")[0] for t in spread(goals[0], 0, prompts, pictures, 32)]
    assert len(set(pairs[:16])) == 16 and pairs[16:] == pairs[:16]
    assert {p.partition(",")[0] for p in pairs[:4]} == {"p0", "p1", "p2", "p3"}
    assert {p.rpartition(" ")[2] for p in pairs[:4]} == {"k0"} or len({p.rpartition(" ")[2] for p in pairs[:4]}) == 4


def test_the_reference_pairs_four_of_sixteen(goals):
    goal = replace(goals[0], prompt=fact_prompt("Why?"))
    attack = Multimodal({"reference": True, "candidates": 320})
    pairs = {(t.candidate.prompt, t.origin.partition(", image")[2][:8]) for t in _trials(attack, goal)}
    assert len(pairs) == 4
