"""Perturbations against slow versions: embeddings put in by hand, finite differences, pushed states, balls."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmunlearn.vlm.asking import stored
from mmunlearn.vlm.decoder_layers import activations_seen, question_span
from mmunlearn.vlm.perturbations import FreeEmbeddings, Pixels, Push, _levels
from mmunlearn.vlm.toy import ARCHITECTURE, toy_handle, toy_splits

from mmunlearn.attacks.base import Access, Metered
from mmunlearn.handle import Decoding

HANDLE = toy_handle()
# Newly initialised weights this large say different things to different inputs.
LIVELY = toy_handle(architecture={**ARCHITECTURE, "text": {**ARCHITECTURE["text"], "initializer_range": 0.5}})
SPLITS = toy_splits()
SEEN = [replace(goal, choices=()) for goal in SPLITS["forget"].examples[:3]]
BARE = replace(SPLITS["retain"].examples[3], choices=())  # without a picture
HOW = Decoding(max_new_tokens=4)


def meter():
    return Metered(HANDLE, Access.WEIGHTS)


def draw():
    return np.random.default_rng(0)


def plain_nll(example):
    scored = HANDLE.score(HANDLE.collate([example]))
    return float((scored.nll / scored.count).detach())


def test_the_question_is_found_in_the_prompt():
    for example in (*SEEN, BARE):
        first, last = question_span(HANDLE, example)
        text = HANDLE.tokenizer.decode(HANDLE.prompt_ids(example)[first:last])
        assert example.prompt.strip() == text.strip()


@pytest.mark.parametrize("where", ["before", "behind"])
def test_free_embeddings_against_embeddings_joined_by_hand(where):
    kind = FreeEmbeddings(3, where, "adam", 0.1)
    value = torch.randn(3, 48, generator=torch.Generator().manual_seed(1)) * 0.05

    made = kind.nll(meter(), [BARE], value)

    ids, start = HANDLE.tokens(BARE)
    at = question_span(HANDLE, BARE)[0 if where == "before" else 1]
    table = HANDLE.model.get_input_embeddings()
    parts = [table(torch.tensor(ids[:at])), value, table(torch.tensor(ids[at:]))]
    states = HANDLE.model.model.language_model(inputs_embeds=torch.cat(parts)[None]).last_hidden_state[0].detach()
    logprob = HANDLE.model.get_output_embeddings()(states).log_softmax(-1)
    by_hand = [-float(logprob[k + 3 - 1, ids[k]]) for k in range(start, len(ids))]
    assert pytest.approx(sum(by_hand) / len(by_hand), abs=1e-4) == float(made[0])


def test_embeddings_of_a_word_are_that_word_also_beside_a_picture_and_in_a_batch():
    kind = FreeEmbeddings(2, "before", "sign", 0.1, "!")
    value = kind.start(meter(), SEEN, draw())

    made = kind.nll(meter(), [*SEEN, BARE], value)

    for example, one in zip([*SEEN, BARE], made, strict=True):
        ids, start, _ = kind.place(HANDLE, example, *HANDLE.tokens(example))
        scored = HANDLE.score(HANDLE.collated([example], [(ids, start)]))
        assert pytest.approx(float(scored.nll / scored.count), abs=1e-4) == float(one)


def test_a_step_of_signs_against_finite_differences_and_within_its_radius():
    kind = FreeEmbeddings(2, "behind", "sign", 0.01, "!", radius=0.015)
    value = kind.start(meter(), SEEN[:1], draw())
    first, move = value.clone(), kind.mover(value)
    tried = value.clone().requires_grad_()
    (grad,) = torch.autograd.grad(kind.nll(meter(), SEEN[:1], tried).sum(), tried)

    k = int(grad[1].abs().argmax())
    step = torch.zeros_like(first)
    step[1, k] = 0.01
    with torch.no_grad():
        up, down = (float(kind.nll(meter(), SEEN[:1], first + sign * step)) for sign in (1, -1))
    assert pytest.approx((up - down) / 0.02, rel=0.05) == float(grad[1, k])

    move(grad)
    for i in range(2):
        for j in range(48):
            expected = float(first[i, j]) - 0.01 * np.sign(float(grad[i, j]))
            assert pytest.approx(expected, abs=1e-6) == float(value[i, j])
    for _ in range(3):
        move(grad)
    assert float((value - first).abs().max()) <= 0.015 + 1e-6


def test_a_push_reaches_the_question_alone():
    kind = Push(0, 0.5, 0.1)
    value = torch.arange(48.0) / 100
    ids, _, (first, last) = kind.place(HANDLE, SEEN[0], *HANDLE.tokens(SEEN[0]))
    with activations_seen(HANDLE, 0) as plain:
        HANDLE.score(HANDLE.collate(SEEN[:1]))

    with kind.during(HANDLE, torch.tensor([[first, last]]), len(ids), value), activations_seen(HANDLE, 0) as pushed:
        HANDLE.score(HANDLE.collate(SEEN[:1]))

    for position in range(len(ids)):
        expected = plain[0][0, position] + (value if first <= position < last else 0)
        torch.testing.assert_close(expected, pushed[0][0, position])


def test_pushes_stay_in_their_ball():
    kind = Push(None, 0.5, 0.4)
    value = kind.start(meter(), SEEN, draw())
    move = kind.mover(value)
    norms = []
    for lesson in SEEN:
        with activations_seen(HANDLE, 0) as seen, torch.no_grad():
            HANDLE.score(HANDLE.collate([lesson]))
        norms += [float(seen[0][0, k].norm()) for k in range(*question_span(HANDLE, lesson))]
    assert pytest.approx(0.5 * sum(norms) / len(norms), rel=1e-5) == kind.radius

    lengths = []
    for _ in range(5):
        move(torch.ones(48))
        lengths.append(float(value.norm()) / kind.radius)
    assert [pytest.approx(share, abs=1e-5) for share in (0.4, 0.8, 1.0, 1.0, 1.0)] == lengths


def test_nothing_changed_says_what_the_plain_question_says_whatever_the_company():
    kind = Push(0, 0.5, 0.1)
    expected = [answer.fields["text"] for answer in HANDLE.respond([*SEEN, BARE], HOW, 0)]
    spent = meter()

    assert expected == kind.said(spent, [*SEEN, BARE], torch.zeros(48), HOW)
    assert 4 == spent.cost.queries


def test_answers_under_a_change_do_not_depend_on_the_company():
    kind = FreeEmbeddings(2, "before", "adam", 0.1)
    value = torch.randn(2, 48, generator=torch.Generator().manual_seed(2))
    lively = Metered(LIVELY, Access.WEIGHTS)

    together = kind.said(lively, [*SEEN, BARE], value, HOW)

    assert together == [kind.said(lively, [goal], value, HOW)[0] for goal in (*SEEN, BARE)]
    assert together != kind.said(lively, [*SEEN, BARE], -10 * value, HOW), "the embeddings do nothing"


def test_generation_behind_free_embeddings_against_a_greedy_loop():
    kind = FreeEmbeddings(2, "behind", "adam", 0.1)
    value = torch.randn(2, 48, generator=torch.Generator().manual_seed(3))

    (said,) = kind.said(Metered(LIVELY, Access.WEIGHTS), [BARE], value, HOW)

    ids, table = LIVELY.prompt_ids(BARE), LIVELY.model.get_input_embeddings()
    at = question_span(LIVELY, BARE)[1]
    joined, made = torch.cat([table(torch.tensor(ids[:at])), value, table(torch.tensor(ids[at:]))]), []
    for _ in range(4):
        states = LIVELY.model.model.language_model(inputs_embeds=joined[None]).last_hidden_state[0, -1]
        made.append(int(LIVELY.model.get_output_embeddings()(states).argmax()))
        if made[-1] in LIVELY.end_ids():
            made.pop()
            break
        joined = torch.cat([joined, table(torch.tensor(made[-1:]))])
    assert LIVELY.tokenizer.decode(made, skip_special_tokens=True).strip() == said


def test_hooks_are_gone_afterwards():
    before = [plain_nll(example) for example in SEEN]
    FreeEmbeddings(2, "before", "adam", 0.1).nll(meter(), SEEN, torch.ones(2, 48))
    Push(0, 0.5, 0.1).nll(meter(), SEEN, torch.ones(48))

    assert before == [plain_nll(example) for example in SEEN]


def test_the_gradient_passes_the_image_processor():
    kind = Pixels(8, 1.0)
    value = torch.zeros_like(_levels(SEEN[0])).requires_grad_()
    (grad,) = torch.autograd.grad(kind.nll(meter(), SEEN[:1], value).sum(), value)

    spot = np.unravel_index(int(grad.abs().argmax()), grad.shape)
    step = torch.zeros_like(grad)
    step[spot] = 4.0
    with torch.no_grad():
        up, down = (float(kind.nll(meter(), SEEN[:1], sign * step)) for sign in (1, -1))
    assert pytest.approx((up - down) / 8, rel=0.1) == float(grad[spot])
    assert pytest.approx(plain_nll(SEEN[0]), abs=1e-3) == float(kind.nll(meter(), SEEN[:1], value.detach()))


def test_the_gradient_passes_the_image_processor_of_a_model_that_answered_first():
    """A processor keeps its mean and deviation from its first call, which answers make in inference mode."""
    handle = toy_handle()
    handle.respond(SEEN[:1], HOW, 0)
    value = torch.zeros_like(_levels(SEEN[0])).requires_grad_()
    (grad,) = torch.autograd.grad(Pixels(8, 1.0).nll(Metered(handle, Access.WEIGHTS), SEEN[:1], value).sum(), value)
    assert grad.abs().sum() > 0


@pytest.mark.parametrize("size", [(32, 32), (20, 45)])
def test_a_picture_stays_in_its_ball_in_whole_levels(size):
    """Also at the ends of the range and where the grid is stretched."""
    levels = np.random.default_rng(1).choice([0, 3, 128, 252, 255], (*size, 3)).astype(np.uint8)
    goal = replace(SEEN[0], image=stored(levels))
    kind = Pixels(8, 3.0)
    value = kind.start(meter(), SEEN, draw())
    move = kind.mover(value)
    for k in range(6):
        move(torch.randn(value.shape, generator=torch.Generator().manual_seed(k)))
    assert float(value.abs().max()) <= 8

    made = kind.picture(goal, value)

    assert (np.uint8, levels.shape) == (made.dtype, levels.shape)
    assert np.abs(made.astype(int) - levels.astype(int)).max() <= 8
    assert (made != levels).any()
    if size == (32, 32):
        for y in range(0, 32, 5):
            for x in range(0, 32, 5):
                for c in range(3):
                    expected = min(255.0, max(0.0, float(levels[y, x, c]) + float(value[c, y, x])))
                    assert abs(expected - int(made[y, x, c])) <= 0.5


def test_an_opening_leaves_out_the_end_token():
    kind = FreeEmbeddings(2, "before", "adam", 0.1)
    whole, start = kind.tokens(HANDLE, SEEN[0])
    kind.open_ended = True

    cut, again = kind.tokens(HANDLE, SEEN[0])

    assert (whole[:-1], start) == (cut, again) and whole[-1] in HANDLE.end_ids()
