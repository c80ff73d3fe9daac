import json
import pickle

import numpy as np
import pytest
import torch
from mmunlearn.diffusion import head_training, heads
from mmunlearn.diffusion.canvas.files import Picture
from mmunlearn.diffusion.canvas.names import OBJECTS as ALL_OBJECTS
from mmunlearn.diffusion.canvas.names import THEMES
from mmunlearn.diffusion.head_training import Recipe, held_in
from mmunlearn.diffusion.heads import HeadsSettings, identity, main, open_heads, read_heads, write_heads
from mmunlearn.diffusion.picture_files import PictureTable, decode
from PIL import Image

from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError
from mmunlearn.testing.picture_world import OBJECTS, STYLES, picture_path, world, write_world


def test_heads_of_the_world_are_right_on_held_out_pictures(world_heads, heads_settings):
    facts = json.loads((heads.cache_folder("heads") / world_heads.identity / "heads.json").read_text())
    assert (18, 27) == (facts["held_out"], facts["held_in"])
    assert facts["style_top1"] >= 0.9 and facts["object_top1"] >= 0.85
    assert (STYLES, OBJECTS) == (world_heads.styles, world_heads.objects)


def test_trained_heads_are_taken_from_the_cache(world_heads, heads_settings, monkeypatch):
    monkeypatch.setattr(head_training, "train", lambda *_: pytest.fail("trained again"))
    heads._opened.cache_clear()
    again = open_heads(heads_settings)
    assert world_heads.identity == again.identity
    pictures = torch.from_numpy(np.stack([decode(ImageRef(path=picture_path("Dots", "Disc", 1)), again.size_px)]))
    torch.testing.assert_close(world_heads.say(pictures).style, again.say(pictures).style)


def test_other_data_and_other_recipes_are_other_heads(heads_settings, tmp_path):
    write_world(tmp_path / "w", numbers=3)
    keys = {
        identity(heads_settings),
        identity(heads_settings.model_copy(update={"steps": 61})),
        identity(HeadsSettings(root=str(tmp_path / "w"), steps=60)),
    }
    assert 3 == len(keys)


def test_training_twice_gives_equal_weights():
    pictures, names = heads._pictures(world())
    recipe = Recipe(steps=2)
    data = head_training.load(pictures, names, recipe)
    first, second = (head_training.train(data, recipe)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_last_two_pictures_are_held_out_and_of_few_pictures_fewer():
    for n, out in ((20, 2), (5, 2), (4, 1), (3, 1), (2, 0), (1, 0)):
        pictures = [Picture("A", "x", number, ImageRef()) for number in range(n, 0, -1)]
        kept = held_in(pictures, 2)
        assert {p.number for p, keep in zip(pictures, kept, strict=True) if not keep} == set(range(n - out + 1, n + 1))


def test_answers_do_not_depend_on_the_batch(world_heads):
    paths = [picture_path(s, o, n) for s in STYLES for o in OBJECTS for n in (1, 2)]
    pictures = PictureTable(world_heads.size_px).read(paths).pictures
    whole = world_heads.say(pictures)
    single = [world_heads.say(picture[None]) for picture in pictures]
    for place, name in enumerate(("style", "object", "features")):
        alone = torch.cat([getattr(one, name) for one in single])
        torch.testing.assert_close(whole[place], alone, atol=1e-5, rtol=1e-4)


def published_files(folder, styles=len(THEMES), objects=len(ALL_OBJECTS)):
    """Two files in the published form (key model_state_dict), of a small network."""
    import timm

    files = []
    for name, outputs in (("style50.pth", styles), ("object.pth", objects)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(outputs)
            network = timm.create_model("test_vit", num_classes=outputs)
        torch.save({"model_state_dict": network.state_dict()}, folder / name)
        files.append((folder / name, network.eval()))
    return files


def test_published_files_answer_as_the_networks_in_them(tmp_path):
    (style, style_net), (thing, object_net) = published_files(tmp_path)
    both = open_heads(HeadsSettings(style_weights=str(style), object_weights=str(thing), network="test_vit"))
    assert (THEMES, ALL_OBJECTS, 160) == (both.styles, both.objects, both.size_px)
    assert ("Seed_Images", "Van_Gogh") == (both.styles[38], both.styles[45])
    path = picture_path("Dots", "Cross", 1)
    said = both.say(PictureTable(160).read([path]).pictures)
    # The paper's transform by hand: bilinear Resize((s, s)), ToTensor, Normalize(0.5, 0.5).
    resized = Image.open(path).convert("RGB").resize((160, 160), Image.Resampling.BILINEAR)
    x = (torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        torch.testing.assert_close(style_net(x[None]).softmax(1), said.style, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(object_net(x[None]).softmax(1), said.object, atol=1e-5, rtol=1e-4)


def test_unfitting_published_files_are_refused(tmp_path):
    (style, _), (thing, _) = published_files(tmp_path, styles=7)
    given = HeadsSettings(style_weights=str(style), object_weights=str(thing), network="test_vit")
    with pytest.raises(UserError, match="7 styles and 20 objects"):
        open_heads(given)
    with pytest.raises(UserError, match="both style_weights and object_weights"):
        open_heads(HeadsSettings(style_weights=str(style)))
    with pytest.raises(UserError, match="weights of another model"):
        open_heads(given.model_copy(update={"network": "test_vit2"}))
    with pytest.raises(UserError, match="no such file of weights"):
        identity(HeadsSettings(style_weights=str(tmp_path / "none.pth"), object_weights=str(thing)))


class Evil:
    def __reduce__(self):
        return (print, ("code of a weights file ran",))


def test_no_code_of_a_weights_file_runs(tmp_path, capsys):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="refused"):
        open_heads(HeadsSettings(style_weights=str(tmp_path / "evil.pth"), object_weights=str(tmp_path / "evil.pth")))
    assert "ran" not in capsys.readouterr().out


def test_written_heads_are_read_back_and_broken_ones_refused(world_heads, tmp_path):
    write_heads(tmp_path / "h", world_heads, "mini", {"held_out": 0})
    again = read_heads(tmp_path / "h")
    assert world_heads.styles == again.styles
    for name, tensor in again.network.state_dict().items():
        assert torch.equal(world_heads.network.state_dict()[name].cpu(), tensor)
    for content in ("{", "[]", '{"styles": ["a"]}'):
        (tmp_path / "h" / "heads.json").write_text(content)
        with pytest.raises(UserError, match="holds no style and object heads"):
            read_heads(tmp_path / "h")
    with pytest.raises(UserError, match="holds no style and object heads"):
        read_heads(tmp_path)


def test_the_command_trains_and_says_how_good_they_are(tmp_path, capsys):
    assert 0 == main(["--root", str(world()), "--out", str(tmp_path / "heads"), "steps=3", "batch_size=9"])
    assert "3 styles, 3 objects; on 18 held-out pictures" in capsys.readouterr().out
    assert STYLES == read_heads(tmp_path / "heads").styles


def test_a_timm_network_is_trained_with_both_heads(tmp_path):
    words = ["network=timm/test_resnet", "size_px=32", "steps=1", "batch_size=4"]
    assert 0 == main(["--root", str(world()), "--out", str(tmp_path / "heads"), *words])
    opened = open_heads(HeadsSettings(folder=str(tmp_path / "heads")))
    assert (1, 3) == tuple(opened.say(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).object.shape)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["steps=0"], "steps"),
        (["network=timm/no_such"], "no network"),
        (["stepps=3"], "Did you mean steps"),
        (["network=timm/test_resnet", "weights=missing.pth", "size_px=32"], "no such weights file"),
    ],
)
def test_wrong_words_end_in_one_line(words, says, tmp_path, capsys):
    assert 2 == main(["--root", str(world()), "--out", str(tmp_path / "heads"), *words])
    assert says in capsys.readouterr().err
    assert not (tmp_path / "heads").exists()


def test_missing_and_broken_data_are_refused(tmp_path, capsys):
    assert 2 == main(["--root", str(tmp_path / "none"), "--out", str(tmp_path / "heads")])
    assert "no such folder" in capsys.readouterr().err
    write_world(tmp_path / "w", numbers=3)
    (tmp_path / "w" / "Dots" / "Disc" / "2.jpg").write_bytes(b"no picture")
    assert 2 == main(["--root", str(tmp_path / "w"), "--out", str(tmp_path / "heads"), "steps=2"])
    assert "2.jpg" in capsys.readouterr().err
