"""SAeUron: top-k, scores, choice and ablation by loops, the autoencoder's fit, and pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmunlearn.diffusion.methods._sparse_autoencoder import Autoencoder, batch_top_k, top_k, train
from mmunlearn.diffusion.methods.saeuron import Ablation, FeatureGuard, Saeuron, cells, choose, grouped, scores
from mmunlearn.diffusion.sampler import Request, sample
from mmunlearn.diffusion.settings import SamplerSettings
from mmunlearn.diffusion.toy import toy_handle

from mmunlearn.errors import UserError
from mmunlearn.run import Run


def test_top_k_by_loops():
    z = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    made = top_k(z, 2)
    for row, kept in zip(z.view(-1, 7).tolist(), made.view(-1, 7).tolist(), strict=True):
        best = sorted(row)[-2:]
        assert [value if value in best else 0.0 for value in row] == kept


def test_batch_top_k_by_loops():
    z = torch.rand(4, 6, generator=torch.Generator().manual_seed(1))
    best = sorted(z.flatten().tolist())[-8:]
    assert [[v if v in best else 0.0 for v in row] for row in z.tolist()] == batch_top_k(z, 2).tolist()


def test_scores_and_choice_by_loops():
    draw = np.random.default_rng(0)
    means = {name: draw.random((2, 6)) for name in ("a", "b", "c")}
    made = choose({k: torch.from_numpy(v) for k, v in means.items()}, ["a"], 60.0, -3.0)
    expected = []
    for step in range(2):
        mine, others = means["a"][step], (means["b"][step] + means["c"][step]) / 2
        score = [x / (sum(mine) + 1e-8) - y / (sum(others) + 1e-8) for x, y in zip(mine, others, strict=True)]
        made_scores = scores(torch.from_numpy(mine)[None], torch.from_numpy(others)[None])
        np.testing.assert_allclose(made_scores[0].numpy(), score)
        cut = np.quantile(score, 0.6)
        for feature in range(6):
            if score[feature] > cut:
                limit = sum(means[name][step, feature] for name in means) / 3
                expected.append((step, feature, -3.0 * mine[feature], limit))
    assert len(expected) == 4
    np.testing.assert_allclose(torch.stack([column.double() for column in made], 1).numpy(), expected)


def guard(error):
    draw = torch.Generator().manual_seed(2)
    model = Autoencoder(*(torch.randn(*shape, generator=draw) for shape in ((8, 3), (8,), (8, 3), (3,))))
    ablation = Ablation(
        torch.tensor([0, 1, 1]),
        torch.tensor([5, 2, 6]),
        torch.tensor([-1.0, -2.0, -0.5]),
        torch.tensor([0.1, 0.4, 0.0]),
    )
    return FeatureGuard("x", model, ablation, torch.tensor([900.0, 100.0]), (4, error))


@pytest.mark.parametrize("error", ["intended", "reference"])
def test_ablation_by_loops(error):
    made = guard(error)
    made._step = 1
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(3))
    model, out = made.model, made.changed(x)
    for i in range(2):
        for j in range(5):
            pre = [max(0.0, (model.encoder[f] @ (x[i, j] - model.centre) + model.offset[f]).item()) for f in range(8)]
            best = sorted(range(8), key=lambda f: -pre[f])[:4]
            z = [pre[f] if f in best else 0.0 for f in range(8)]
            less = list(z)
            for feature, factor, limit in ((2, -2.0, 0.4), (6, -0.5, 0.0)):
                if z[feature] > limit:
                    less[feature] = z[feature] * factor
            whole = sum(v * model.decoder[f] for f, v in enumerate(z)) + model.centre
            ablated = sum(v * model.decoder[f] for f, v in enumerate(less)) + model.centre
            expected = ablated + (x[i, j] - whole if error == "intended" else whole - x[i, j])
            torch.testing.assert_close(expected, out[i, j], atol=1e-5, rtol=1e-4)


def test_without_features_the_output_stays_only_as_intended():
    x = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(3))
    for error in ("intended", "reference"):
        made = guard(error)
        made._step = 7  # nothing is turned down there
        assert (error == "intended") == torch.allclose(x, made.changed(x), atol=1e-5)


def test_autoencoder_fits_sparse_rows():
    draw = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(6, 8, generator=draw), dim=1)
    z = top_k(torch.rand(512, 6, generator=draw), 2)
    rows = z @ atoms
    model = train(rows, 2, 2, 60, 1, lr=0.02, batch_size=128)
    left = (model.decode(model.encode(rows, 2)) - rows).square().sum() / (rows - rows.mean(0)).square().sum()
    assert left < 0.2
    torch.testing.assert_close(torch.ones(16), model.decoder.norm(dim=1))


def test_maps_as_rows():
    x = torch.arange(24.0).view(1, 2, 3, 4)
    assert x[0, :, 1, 2].tolist() == cells(x)[0, 6].tolist()


def test_prompts_are_grouped_by_what_the_phrase_names(task):
    _, splits = task()
    found = grouped(splits["concept"], splits["anchor"])
    assert ["Van Gogh", "Van Gogh", "Ink", "Ink", "Photo", "Photo"] == found
    dogs = [replace(e, tags={**e.tags, "phrase": "Dogs"}) for e in splits["concept"] if e.tags["object"] == "Dogs"]
    assert ["Dogs", "Dogs", "Trees", "Dogs", "Trees"] == grouped(dogs, splits["anchor"])
    pair = [replace(e, tags={**e.tags, "phrase": "Dogs image in Van Gogh"}) for e in dogs]
    assert {"Dogs image in Van Gogh", ""} == set(grouped(pair, splits["anchor"]))


def pictures(handle, texts):
    how = SamplerSettings(steps=3, scale=2.0)
    return torch.stack([p for _, p in sample(handle, [Request(t, 1, i) for i, t in enumerate(texts)], how)]).int()


def test_pictures_change_alike_after_loading_and_depend_on_the_seed(task, run, tmp_path):
    handle, splits = task()
    texts = [example.prompt for example in splits["concept"]]
    wrapped = Saeuron(Saeuron.toy).apply(handle, splits, run)
    changed = pictures(wrapped, texts)
    assert 1 < (pictures(handle, texts) - changed).abs().max()
    wrapped.save(tmp_path / "model")
    assert torch.equal(changed, pictures(type(handle).load(tmp_path / "model"), texts))
    again = Saeuron(Saeuron.toy).apply(handle, splits, Run.scratch(tmp_path / "again", 0, device="cpu"))
    other = Saeuron(Saeuron.toy).apply(handle, splits, Run.scratch(tmp_path / "other", 1, device="cpu"))
    assert wrapped.digest() == again.digest() != other.digest()


def test_unknown_layer_and_transformers_are_refused(task, run):
    handle, splits = task()
    with pytest.raises(UserError, match="layer"):
        Saeuron({"layer": "up_blocks.0.attentions.9"}).apply(handle, splits, run)
    with pytest.raises(UserError, match="saeuron"):
        Saeuron().apply(toy_handle(name="scratch/sd3", architecture={}), splits, run)
