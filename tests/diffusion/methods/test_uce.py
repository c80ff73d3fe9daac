"""UCE: against a solve for each matrix on its own, in its limits, on transformers, and what it does to predictions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmunlearn.diffusion.methods._closed_form import editable
from mmunlearn.diffusion.methods.uce import Uce
from mmunlearn.diffusion.toy import toy_handle

from mmunlearn.data import Role, Split
from mmunlearn.errors import UserError

PROMPTS = {"texts": "prompts", "preserve": "prompts", "keep": 0.3, "erase_scale": 0.7, "preserve_scale": 0.2}
ONE_TEXT = {"texts": "phrase", "preserve": "none", "erase_scale": 1.0}


def states(handle, text):
    return handle.encode([text]).states[0].double().numpy()


def last(handle, text, phrase=""):
    """Position of the last token of `phrase` in `text` (of the text where it is empty)."""
    ids = handle.tokenise([text]).ids[0][0].tolist()
    if not phrase:
        return ids.index(handle.tokenizer.eos_token_id) - 1
    wanted = handle.tokenizer(phrase, add_special_tokens=False).input_ids
    return next(i + len(wanted) - 1 for i in range(len(ids)) if ids[i : i + len(wanted)] == wanted)


def blocks(handle, splits, scope):
    """(concept rows, guide rows) an example of the concept, and preserved rows an anchor, token by token."""
    erased, held = [], []
    for example in splits["concept"]:
        c, g = states(handle, example.prompt), states(handle, example.target)
        i, j = last(handle, example.prompt, "Van Gogh"), last(handle, example.target, "Photo")
        n = 1 if scope == "last" else len(c) - max(i, j)
        erased.append((c[i : i + n], g[j : j + n]))
    for example in splits["anchor"]:
        c = states(handle, example.prompt)
        held.append(c if scope == "aligned" else c[[last(handle, example.prompt)]])
    return erased, held


def solved(weight, erased, held, technique, settings):
    """Equation 7 for one matrix, a sum over single tokens."""
    w = weight.detach().double().numpy()
    left, right = settings["keep"] * w, settings["keep"] * np.eye(w.shape[1])
    for c, g in erased:
        goal = np.stack([w @ row for row in g])
        if technique == "tensor":
            out = np.stack([w @ row for row in c])
            unit = out / np.sqrt((out**2).sum())
            goal = goal - (unit * goal).sum() * unit
        for row, aim in zip(c, goal, strict=True):
            left = left + settings["erase_scale"] * np.outer(aim, row)
            right = right + settings["erase_scale"] * np.outer(row, row)
    for c in held:
        for row in c:
            left = left + settings["preserve_scale"] * np.outer(w @ row, row)
            right = right + settings["preserve_scale"] * np.outer(row, row)
    return left @ np.linalg.inv(right)


@pytest.mark.parametrize("technique", ["replace", "tensor"])
@pytest.mark.parametrize("scope", ["last", "aligned"])
def test_equals_a_solve_for_each_matrix(scope, technique, task, run):
    handle, splits = task()
    erased, held = blocks(handle, splits, scope)
    expected = {n: solved(m.weight, erased, held, technique, PROMPTS) for n, m in handle.context_layers()}
    Uce({**PROMPTS, "token_scope": scope, "technique": technique}).apply(handle, splits, run)
    assert 6 == len(expected)
    for name, layer in handle.context_layers():
        np.testing.assert_allclose(layer.weight.detach().numpy(), expected[name], atol=2e-6)


def weights(handle):
    return {name: layer.weight.detach().clone() for name, layer in handle.context_layers()}


def test_great_weight_on_staying_changes_nothing(task, run):
    handle, splits = task()
    before = weights(handle)
    Uce({**ONE_TEXT, "keep": 1e9}).apply(handle, splits, run)
    for name, layer in handle.context_layers():
        torch.testing.assert_close(before[name], layer.weight.detach())


def test_preserving_alone_changes_nothing(task, run):
    handle, splits = task()
    before = weights(handle)
    Uce({**PROMPTS, "erase_scale": 0.0, "token_scope": "aligned"}).apply(handle, splits, run)
    for name, layer in handle.context_layers():
        torch.testing.assert_close(before[name], layer.weight.detach())


def test_one_text_without_weight_on_staying_goes_where_the_surrogate_went(task, run):
    handle, splits = task()
    c = torch.from_numpy(states(handle, "Van Gogh")[last(handle, "Van Gogh")]).float()
    g = torch.from_numpy(states(handle, "Photo")[last(handle, "Photo")]).float()
    wanted = {name: layer.weight.detach() @ g for name, layer in handle.context_layers()}
    Uce({**ONE_TEXT, "keep": 1e-9}).apply(handle, splits, run)
    for name, layer in handle.context_layers():
        torch.testing.assert_close(wanted[name], layer.weight.detach() @ c, atol=1e-4, rtol=1e-4)


def test_no_solution_is_said(task, run):
    handle, splits = task()
    with pytest.raises(UserError, match="no unique solution"):
        Uce({**ONE_TEXT, "keep": 0.0}).apply(handle, splits, run)


def test_concept_is_predicted_as_the_surrogate_and_anchors_as_before(task, run):
    handle, splits = task()
    torch.manual_seed(0)
    noise, t = torch.randn(1, *handle.latent_shape()), torch.tensor([500])

    def predicted(model, text):
        with torch.no_grad():
            return model.predict(noise, t, model.encode([text]))

    example, anchor = splits["concept"][0], splits["anchor"][0]
    concept, surrogate = predicted(handle, example.prompt), predicted(handle, example.target)
    ink = predicted(handle, anchor.prompt)
    Uce(Uce.toy).apply(handle, splits, run)
    distance = (concept - surrogate).norm()
    assert (predicted(handle, example.prompt) - surrogate).norm() < 0.5 * distance
    assert (predicted(handle, anchor.prompt) - ink).norm() < 0.5 * distance


def test_reference_settings_lie_under_the_users(task):
    config = Uce({"reference": "unlearncanvas_style", "keep": 2.0}).config
    assert ("aligned", 0.05, 2.0, None) == (config.token_scope, config.erase_scale, config.keep, config.preserve_scale)


def test_expanded_wordings_and_names(task):
    _, splits = task()
    method = Uce({"expand": "style"})
    assert {"Van Gogh", "painting by Van Gogh", "art by Van Gogh"} <= {p.text for p in method.pairs(splits["concept"])}
    assert "style of Photo" in {p.guide for p in method.pairs(splits["concept"])}
    assert ["Ink", "Photo", "Dogs", "Trees"] == method.held(splits)


def test_prompt_without_the_phrase_is_refused(task, run):
    handle, splits = task()
    wrong = [replace(e, prompt="A picture.") for e in splits["concept"]]
    splits["concept"] = Split("concept", Role.FORGET, tuple(wrong))
    with pytest.raises(UserError, match="Van Gogh"):
        Uce({"texts": "prompts"}).apply(handle, splits, run)


@pytest.mark.parametrize(
    ("family", "kinds"), [("sd3", {"states"}), ("flux", {"states", "pooled"}), ("sdxl", {"states"})]
)
@pytest.mark.parametrize("scope", ["last", "aligned"])
def test_other_families(family, kinds, scope, task, run):
    handle, splits = toy_handle(name=f"scratch/{family}", architecture={}, text_length=40), task()[1]
    assert kinds == set(editable(handle))
    before = weights(handle)
    Uce({"texts": "prompts", "preserve": "prompts", "token_scope": scope}).apply(handle, splits, run)
    assert all(not torch.equal(before[name], layer.weight) for name, layer in handle.context_layers())


def test_pooled_prompt_of_flux_is_mapped_as_a_single_row(task, run):
    handle, splits = toy_handle(name="scratch/flux", architecture={}, text_length=40), task()[1]
    layer = dict(handle.context_layers())["denoiser.time_text_embed.text_embedder.linear_1"]
    w = layer.weight.detach().double()
    left, right = 0.5 * w, 0.5 * torch.eye(w.shape[1], dtype=torch.float64)
    c, g = (handle.encode([text]).pooled[0].double() for text in ("Van Gogh", "Photo"))
    left, right = left + torch.outer(w @ g, c), right + torch.outer(c, c)
    Uce({"preserve": "none"}).apply(handle, splits, run)
    torch.testing.assert_close((left @ right.inverse()).float(), layer.weight.detach(), atol=1e-5, rtol=1e-4)
