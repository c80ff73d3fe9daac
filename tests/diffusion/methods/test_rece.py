"""RECE: the adversarial rows as a least-squares problem, one round step by step, and what the rounds do."""

import numpy as np
import torch
from mmunlearn.diffusion.methods.rece import Rece, adversarial
from mmunlearn.diffusion.methods.uce import Uce

from mmunlearn.settings import plain


def test_adversarial_rows_minimise_the_distance_of_outputs():
    draw = np.random.default_rng(0)
    now, before = ([draw.standard_normal((n, 4)) for n in (3, 5)] for _ in range(2))
    c = draw.standard_normal(4)
    made = adversarial([torch.from_numpy(w) for w in now], [torch.from_numpy(w) for w in before], 0.3).numpy() @ c
    # The same as one tall least-squares problem, the regulariser as further rows.
    left = np.concatenate([*now, np.sqrt(0.3) * np.eye(4)])
    right = np.concatenate([*(w @ c for w in before), np.zeros(4)])
    np.testing.assert_allclose(made, np.linalg.lstsq(left, right, rcond=None)[0], atol=1e-12)


def weights(handle):
    return {name: layer.weight.detach().double().numpy() for name, layer in handle.context_layers()}


def test_rounds_equal_the_steps_one_by_one(task, run):
    handle, splits = task()
    settings = {"rounds": 2, "regularisation": 0.05, "keep": 0.2, "erase_scale": 0.7, "preserve_scale": 0.3}
    original = weights(handle)
    method = Rece(settings)
    first = Uce(plain(method.config.uce)).apply(handle.copy(), splits, run)
    now = weights(first)
    concept, blank = (handle.encode([text]).states[0].double().numpy() for text in ("Van Gogh", " "))
    eye = np.eye(concept.shape[1])
    for _ in range(2):
        gram, cross = 0.05 * eye, 0 * eye
        for name, w in now.items():
            gram, cross = gram + w.T @ w, cross + w.T @ original[name]
        rows = [np.linalg.inv(gram) @ cross @ c for c in concept]
        edited = {}
        for name, w in now.items():
            left, right = 0.2 * w, 0.2 * eye
            for row, goal in zip(rows, blank, strict=True):
                left, right = left + 0.7 * np.outer(w @ goal, row), right + 0.7 * np.outer(row, row)
            for goal in blank:
                left, right = left + 0.3 * np.outer(w @ goal, goal), right + 0.3 * np.outer(goal, goal)
            edited[name] = left @ np.linalg.inv(right)
        now = edited
    method.apply(handle, splits, run)
    for name, expected in now.items():
        np.testing.assert_allclose(weights(handle)[name], expected, atol=1e-5)


def test_without_rounds_it_is_uce(task, run):
    handle, splits = task()
    method = Rece({"rounds": 0})
    expected = Uce(plain(method.config.uce)).apply(handle.copy(), splits, run)
    method.apply(handle, splits, run)
    assert all(np.array_equal(weights(expected)[name], w) for name, w in weights(handle).items())


def test_rounds_take_away_what_still_reads_as_the_concept(task, run):
    handle, splits = task()
    original = [torch.from_numpy(w) for w in weights(handle).values()]
    c = handle.encode(["Van Gogh"]).states[0].double()

    def left_over(model):
        """How much of the concept's original outputs an embedding can still bring about."""
        now = [torch.from_numpy(w) for w in weights(model).values()]
        rows = c @ adversarial(now, original, 0.1).mT
        got = torch.cat([rows @ w.mT for w in now], 1)
        wanted = torch.cat([c @ w.mT for w in original], 1)
        return ((got - wanted).norm() / wanted.norm()).item()

    first = Rece({"rounds": 0}).apply(handle.copy(), splits, run)
    third = Rece({"rounds": 3}).apply(handle.copy(), splits, run)
    assert left_over(third) > left_over(first)
