"""The classifiers' handle beyond the contract of all handles: features, heads, blocks, damaged folders."""

import json

import pytest
import torch
from mmunlearn.vision.handle import VisionHandle
from mmunlearn.vision.toy import toy_handle, toy_splits

from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding, weights_digest


@pytest.mark.parametrize("labels", (False, True))
def test_responses_hold_what_a_slow_forward_gives(labels):
    handle, examples = toy_handle(labels=labels), toy_splits(labels=labels)["test"].examples
    rows = handle.respond(examples, Decoding(batch_size=5, fields={"features": True}), 0)
    for example, row in zip(examples, rows, strict=True):
        picture = torch.from_numpy(handle.images.rows([example]).numpy()).float() / 255
        with torch.no_grad():
            features = handle.module.forward_head(handle.module.forward_features(picture), pre_logits=True)[0]
            logits = handle.module.fc(features)
        got = torch.tensor(row.fields["logits"]).flatten()
        assert torch.allclose(logits, got, atol=1e-5)
        assert torch.allclose(features, torch.tensor(row.fields["features"]), atol=1e-5)
        assert row.fields["feature_norm"] == pytest.approx(features.norm().item(), rel=1e-5)
        if labels:
            p = torch.sigmoid(logits)
            nll = -sum(torch.log(p[i] if t else 1 - p[i]) for i, t in enumerate(example.target))
            assert list(example.target) == row.fields["target"] and 4 == row.fields["count"]
        else:
            nll = -torch.log_softmax(logits, 0)[example.target]
            assert [example.target] == row.fields["target"] and 1 == row.fields["count"]
        assert row.fields["nll"] == pytest.approx(nll.item(), abs=1e-5)


def test_weights_of_another_model_and_other_kinds_of_files_are_refused(tmp_path):
    toy_handle().save(tmp_path)
    stored = json.loads((tmp_path / "handle.json").read_text())
    stored["settings"]["classes"] = 5
    (tmp_path / "handle.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match="weights of another model"):
        VisionHandle.load(tmp_path)
    stored["settings"]["classes"] = 4
    (tmp_path / "handle.json").write_text(json.dumps(stored))
    weights = (tmp_path / "weights.safetensors").read_bytes()
    torch.save(toy_handle().module.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match="not a safetensors file"):
        VisionHandle.load(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="not a safetensors file"):
        VisionHandle.load(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="no such weights file"):
        VisionHandle.load(tmp_path)
    vision = {"modality": "vision"}
    for content in (vision, vision | {"settings": 3}, [], vision | {"settings": {"clases": 3}}):
        (tmp_path / "handle.json").write_text(json.dumps(content))
        with pytest.raises(UserError):
            VisionHandle.load(tmp_path)


def test_a_local_file_of_weights_starts_a_model_and_a_pickle_does_not(tmp_path):
    first = toy_handle(seed=4)
    torch.save(first.module.state_dict(), tmp_path / "w.pth")
    settings = first.settings.model_dump() | {"weights": str(tmp_path / "w.pth")}
    assert weights_digest(first.module) == weights_digest(VisionHandle(settings, 0).module)
    torch.save(first.module, tmp_path / "whole.pth")
    with pytest.raises(UserError, match="refused"):
        VisionHandle(settings | {"weights": str(tmp_path / "whole.pth")}, 0)


def test_targets_that_do_not_fit_the_head_are_named():
    pictures = toy_splits()["test"].examples[:2]
    with pytest.raises(UserError, match="does not fit a labels head"):
        toy_handle(labels=True).collate(pictures)


@pytest.mark.parametrize("name", ("timm/test_resnet", "torchvision/resnet18", "timm/test_vit"))
def test_blocks_cover_every_parameter_once_and_end_with_the_head(name):
    handle = VisionHandle({"name": name, "classes": 3, "size_px": 160 if "vit" in name else 32})
    blocks = handle.blocks()
    listed = [parameter for _, names in blocks for parameter in names]
    assert sorted(listed) == sorted(n for n, _ in handle.module.named_parameters())
    assert "head" == blocks[-1][0] and len(blocks) > 3
    assert {n for n, _ in handle.trainable("head")} == set(blocks[-1][1])


def test_normalisation_happens_inside_the_model():
    plain, scaled = toy_handle(), toy_handle()
    scaled.settings = scaled.settings.model_copy(update={"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)})
    picture = torch.rand(2, 3, 16, 16)
    by_hand = (picture - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    assert torch.allclose(plain.logits(by_hand), scaled.logits(picture), atol=1e-6)
