import torch
from mmunlearn.vlm import mini_tower, scratch
from mmunlearn.vlm.settings import VlmSettings

FEW = {"persons": 2, "icons": 2}


def config():
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16
    )


def test_drawings_are_told_apart_and_shown_in_several_renderings():
    images, labels = mini_tower.drawings(32, FEW)
    shapes = len(mini_tower.pictures.COLOURS) * len(mini_tower.pictures.SHAPES)
    assert len(labels) == len(images) == (4 + shapes) * mini_tower.RENDERINGS
    assert set(range(4 + shapes)) == set(labels.tolist())
    assert not torch.equal(images[0], images[1]), "two renderings of one person are the same picture"


def test_the_tower_is_a_function_of_its_recipe(monkeypatch):
    drawn = mini_tower.drawings(32, FEW)
    monkeypatch.setattr(mini_tower, "drawings", lambda size_px, counts: drawn)
    first, again = (mini_tower.train_tower(config(), steps=4) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    longer = mini_tower.train_tower(config(), steps=5)
    assert any(not torch.equal(first[name], longer[name]) for name in first)


def test_a_scratch_model_takes_the_kept_tower_and_keeps_the_rest_of_its_seed(monkeypatch, tmp_path):
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path))
    trained = []

    def fake(config):
        from transformers import CLIPVisionModel

        trained.append(config)
        return {name: torch.full_like(tensor, 0.5) for name, tensor in CLIPVisionModel(config).state_dict().items()}

    monkeypatch.setattr(mini_tower, "train_tower", fake)
    architecture = {"vision": {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}}
    plain, _ = scratch.make_model(VlmSettings(architecture=architecture), 3)
    models = [
        scratch.make_model(VlmSettings(architecture=architecture, pretrained_tower=True), seed)[0] for seed in (3, 4)
    ]
    assert 1 == len(trained), "the tower is trained once and read from the cache afterwards"
    for model in models:
        assert all(bool((p == 0.5).all()) for p in model.model.vision_tower.parameters())
    head = "model.multi_modal_projector.linear_1.weight"
    assert torch.equal(plain.state_dict()[head], models[0].state_dict()[head])
    assert not torch.equal(models[0].state_dict()[head], models[1].state_dict()[head])
