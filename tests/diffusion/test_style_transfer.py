import json

import numpy as np
import pytest
import torch
from mmunlearn.diffusion import style_transfer
from mmunlearn.diffusion.picture_files import decode
from mmunlearn.diffusion.style_transfer import (
    LossNetwork,
    evaluate,
    losses,
    main,
    open_network,
    summary,
    tasks_of,
    vgg_layers,
)
from safetensors.torch import save_file

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError
from mmunlearn.testing.picture_world import draw, write_world


@pytest.fixture
def data(tmp_path):
    """A world with three pictures a cell, and answers: every task's truth, but for one that is another picture."""
    write_world(tmp_path / "w", numbers=4)
    tasks = tasks_of(tmp_path / "w")
    for task in tasks:
        file = tmp_path / "answers" / task.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(task.truth.read())
    draw("Seed_Images", "Disc", 1).save(tmp_path / "answers" / tasks[0].file, quality=95)
    return tmp_path / "w", tmp_path / "answers", tasks


def maps(seed, n=2):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 2 + i, 3, 4, generator=generator) for i in range(3)]


def test_losses_are_those_of_loops():
    answers, truths = maps(0), maps(1)
    style, content = losses(LossNetwork("t", 8, False, None), answers, truths)
    for i in range(2):
        expected_style = expected_content = 0.0
        for level, (one, two) in enumerate(zip(answers, truths, strict=True)):
            means, spreads, normal = [], [], []
            for channel in range(one.shape[1]):
                a, b = (m[i, channel].double().numpy().ravel() for m in (one, two))
                sa, sb = (np.sqrt(v.var(ddof=1) + 1e-5) for v in (a, b))
                means.append((a.mean() - b.mean()) ** 2)
                spreads.append((sa - sb) ** 2)
                normal.append((((a - a.mean()) / sa - (b - b.mean()) / sb) ** 2).mean())
            expected_style += np.mean(means) + np.mean(spreads)
            expected_content += np.mean(normal) if level >= 1 else 0.0
        assert expected_style == pytest.approx(float(style[i]), rel=1e-5)
        assert expected_content == pytest.approx(float(content[i]), rel=1e-5)


def test_an_answer_that_is_the_truth_loses_nothing(data, heads_settings):
    _, answers, tasks = data
    rows = evaluate(tasks, answers, open_network("mini", "", mini=heads_settings))
    assert [task.file for task in tasks] == [row["file"] for row in rows]
    assert rows[0]["style_loss"] > 1e-3
    assert all(row["style_loss"] < 1e-8 and row["content_loss"] < 1e-8 for row in rows[1:])


def test_losses_do_not_depend_on_the_batch(data, heads_settings):
    _, answers, tasks = data
    network = open_network("mini", "", mini=heads_settings)
    one, all_ = evaluate(tasks[:6], answers, network, 1), evaluate(tasks[:6], answers, network, 18)
    for a, b in zip(one, all_, strict=True):
        assert a["style_loss"] == pytest.approx(b["style_loss"], rel=1e-4, abs=1e-8)


def test_missing_and_broken_answers_are_unscored(data, heads_settings):
    _, answers, tasks = data
    (answers / tasks[1].file).unlink()
    (answers / tasks[2].file).write_bytes(b"no picture")
    rows = evaluate(tasks, answers, open_network("mini", "", mini=heads_settings))
    assert [False, True, True] == [row["style_loss"] is None for row in rows[:3]]
    assert "no such file" in rows[1]["why"] and "not a readable image" in rows[2]["why"]
    assert (len(rows) - 2, 2) == tuple(summary(rows)["style_loss"][name] for name in ("n", "unscored"))


def test_spreads_by_hand():
    told = [("A", "x", "c1", 1.0), ("A", "x", "c1", 3.0), ("A", "y", "c2", 5.0), ("B", "x", "c1", 9.0)]
    rows = [
        {"style": s, "object": o, "content": c, "style_loss": v, "content_loss": None} for s, o, c, v in told
    ]
    found = summary(rows)
    assert (4.5, 4, 0) == tuple(found["style_loss"][name] for name in ("mean", "n", "unscored"))
    assert (np.std([1, 3, 5]) + 0) / 2 == pytest.approx(found["style_loss"]["sd_style"])
    assert (np.std([1, 3, 9]) + 0) / 2 == pytest.approx(found["style_loss"]["sd_object"])
    assert (1 + 0 + 0) / 3 == pytest.approx(found["style_loss"]["sd_content"])
    assert (None, 0, 4) == tuple(found["content_loss"][name] for name in ("mean", "n", "unscored"))


def test_the_vgg_has_the_cuts_of_its_names(tmp_path):
    layers = vgg_layers()
    assert style_transfer.VGG_CUTS[-1] == len(layers)
    x = torch.zeros(1, 3, 32, 32)
    found = style_transfer._through(layers, x, [cut - 1 for cut in style_transfer.VGG_CUTS])
    assert [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2)] == [tuple(level.shape[1:3]) for level in found]
    weights = {name: tensor.contiguous() for name, tensor in layers.state_dict().items()}
    save_file(weights | {"45.weight": torch.zeros(512, 512, 3, 3)}, tmp_path / "vgg.safetensors")
    network = open_network("vgg", str(tmp_path / "vgg.safetensors"))
    picture = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(layers[:4](picture.float() / 255), network.levels(picture)[0])


def test_vit_losses_are_those_of_hooks(tmp_path, monkeypatch):
    import timm

    monkeypatch.setattr(style_transfer, "PUBLISHED", "test_vit")
    monkeypatch.setattr(style_transfer, "VIT_BLOCKS", range(1, 24, 3))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vit = timm.create_model("test_vit", num_classes=61).eval()
    save_file({name: tensor.contiguous() for name, tensor in vit.state_dict().items()}, tmp_path / "vit.safetensors")
    network = open_network("vit", str(tmp_path / "vit.safetensors"), raw_pixels=True)
    two = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    caught = []
    for block in (1, 4):
        vit.blocks[block].register_forward_hook(lambda *parts: caught.append(parts[2]))
    with torch.no_grad():
        vit(two.float() / 255)
        style, content = losses(network, network.levels(two[:1]), network.levels(two[1:]))
    expected = sum(((level[0] - level[1]) ** 2).mean() for level in caught)
    assert 2 == len(caught) and content is None
    torch.testing.assert_close(expected[None], style, atol=1e-6, rtol=1e-4)


def test_the_command_writes_what_it_measured(data, heads_settings, tmp_path, capsys, monkeypatch):
    root, answers, tasks = data
    network = open_network("mini", "", mini=heads_settings)
    monkeypatch.setattr(style_transfer, "open_network", lambda *_, **__: network)
    words = ["--root", str(root), "--answers", str(answers), "--out", str(tmp_path / "losses.json")]
    assert 0 == main(words)
    told = json.loads((tmp_path / "losses.json").read_text())
    assert len(tasks) == told["losses"]["style_loss"]["n"] == len(told["rows"])
    assert 2 == main([*words[:3], str(tmp_path / "none"), *words[4:]])
    assert "no such folder" in capsys.readouterr().err


def test_networks_without_their_file_are_refused(tmp_path):
    with pytest.raises(UserError, match="needs --weights"):
        open_network("vgg", "")
    save_file({"0.weight": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="weights of another model"):
        open_network("vgg", str(tmp_path / "x.safetensors"))


def test_a_truth_that_cannot_be_read_is_named(data, heads_settings):
    root, answers, tasks = data
    assert tasks[0].truth.path is not None
    tasks[0].truth.path.write_bytes(b"")
    with pytest.raises(UserError, match=tasks[0].truth.path.name):
        evaluate(tasks, answers, open_network("mini", "", mini=heads_settings))
    assert (3, 24, 24) == decode(ImageRef(path=root / "Dots" / "Disc" / "1.jpg"), 24).shape
