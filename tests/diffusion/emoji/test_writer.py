"""The mini edition's writer: layout, what artists share, what differs, determinism."""

import hashlib
import json

import numpy as np
import pytest
from mmunlearn.diffusion.canvas.files import read_canvas
from mmunlearn.diffusion.canvas.names import OBJECTS, PHOTOS, names_of
from mmunlearn.diffusion.emoji.book import ARTISTS, FACES, MEMBERS, artist, icon_name
from mmunlearn.diffusion.emoji.pictures import Pose, draw_pose, picture
from mmunlearn.diffusion.emoji.writer import MiniSizes, write_mini
from PIL import Image

from mmunlearn.assets import ASSETS
from mmunlearn.errors import UserError
from mmunlearn.rasterise import icon_names
from mmunlearn.seeds import generator

SIZES = MiniSizes(styles=3, objects=3, pictures=4, size_px=32)
STILL = Pose(flip=False, turn_degrees=0.0, scale_frac=0.9, shift_frac=(0.0, 0.0))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "data"
    write_mini(folder, SIZES, 0)
    return folder


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.blake2b(path.read_bytes()).hexdigest() for path in files}


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"), dtype=float)


def test_the_layout_is_the_real_one(root):
    names = names_of(root)
    assert ("High_Contrast", "Openmoji", PHOTOS, "Twemoji") == names.themes
    assert ("Dogs", "Sandwiches", "Trees") == names.objects
    assert {f"{t}/{o}/{i}.jpg" for t in names.themes for o in names.objects for i in range(1, 5)} | {"mini.json"} == {
        str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()
    }
    assert 48 == len(read_canvas(root, names, strict=False, what="").pictures)
    assert {(32, 32)} == {Image.open(path).size for path in root.rglob("*.jpg")}


def test_the_same_seed_writes_the_same_bytes(root, tmp_path):
    write_mini(tmp_path / "again", SIZES, 0)
    assert digests(root) == digests(tmp_path / "again")


def test_another_seed_writes_other_pictures(root, tmp_path):
    write_mini(tmp_path / "other", SIZES, 1)
    first, second = digests(root), digests(tmp_path / "other")
    assert first.keys() == second.keys()
    assert not [name for name in first if first[name] == second[name]]


def test_more_styles_and_objects_leave_the_others_as_they_are(root, tmp_path):
    write_mini(tmp_path / "more", SIZES.model_copy(update={"styles": 4, "objects": 4}), 0)
    more = digests(tmp_path / "more")
    assert {name: more[name] for name in digests(root) if name != "mini.json"} == {
        name: digest for name, digest in digests(root).items() if name != "mini.json"
    }


def test_pictures_of_a_cell_differ(root):
    for place in root.glob("*/*"):
        if place.is_dir():
            assert 4 == len({path.read_bytes() for path in place.iterdir()}), place


def test_equal_indices_stand_alike_whoever_draws(root):
    """The subject's middle of two artists agrees better for equal indices than for others."""

    def middle(theme, index):
        image = pixels(root / theme / "Dogs" / f"{index}.jpg")
        drawn = np.abs(image - np.median(image.reshape(-1, 3), axis=0)).max(-1) > 40
        rows, columns = np.nonzero(drawn)
        return np.array([rows.mean(), columns.mean()])

    places = {theme: np.array([middle(theme, i) for i in range(1, 5)]) for theme in ("Twemoji", PHOTOS)}
    centred = {theme: value - value.mean(0) for theme, value in places.items()}
    agreement = (centred["Twemoji"] * centred[PHOTOS]).sum(-1)
    assert agreement.mean() > 0


def test_artists_have_papers_of_their_own_that_can_be_had_alike(root, tmp_path):
    write_mini(tmp_path / "plain", SIZES.model_copy(update={"paper": False}), 0)

    def edge(place, theme):
        image = pixels(place / theme / "Trees" / "1.jpg")
        return np.median(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]), axis=0)

    themes = names_of(root).themes
    own = [edge(root, theme) for theme in themes]
    assert all(np.abs(a - b).max() > 20 for i, a in enumerate(own) for b in own[:i])
    same = [edge(tmp_path / "plain", theme) for theme in themes]
    assert all(np.abs(a - b).max() < 14 for i, a in enumerate(same) for b in same[:i]), same


def test_white_strokes_are_black_on_plain_paper():
    dark = np.asarray(picture(artist("High_Contrast"), "fire", STILL, 32), dtype=float)
    light = np.asarray(picture(artist("High_Contrast"), "fire", STILL, 32, paper=(236, 236, 236)), dtype=float)
    assert dark.max() > 200 and dark[0].max() < 60
    assert light.min() < 60 and light[0].min() > 200


def test_a_pose_is_followed():
    def drawn(pose):
        image = np.asarray(picture(artist("Twemoji"), "tropical-fish", pose, 64), dtype=float)
        return np.abs(image - image[0, 0]).max(-1) > 40

    still = drawn(STILL)
    mirrored = drawn(Pose(True, 0.0, 0.9, (0.0, 0.0)))
    assert (still[:, ::-1] == mirrored).mean() > 0.97 and (still == mirrored).mean() < 0.97
    moved = np.nonzero(drawn(Pose(False, 0.0, 0.6, (0.15, 0.0))))[1].mean()
    assert 8 < moved - np.nonzero(drawn(Pose(False, 0.0, 0.6, (0.0, 0.0))))[1].mean() < 11
    assert drawn(Pose(False, 0.0, 0.5, (0.0, 0.0))).sum() < 0.5 * still.sum()


def test_poses_keep_the_subject_inside():
    for number in range(200):
        pose = draw_pose(generator(0, number))
        assert 0.78 <= pose.scale_frac <= 0.92 and abs(pose.turn_degrees) <= 12
        assert max(map(abs, pose.shift_frac)) <= 0.04


def test_members_take_turns(tmp_path):
    write_mini(tmp_path / "two", SIZES.model_copy(update={"members": 2}), 0)
    write_mini(tmp_path / "one", SIZES, 0)
    two, one = digests(tmp_path / "two"), digests(tmp_path / "one")
    assert one["Twemoji/Dogs/1.jpg"] == two["Twemoji/Dogs/1.jpg"]
    assert one["Twemoji/Dogs/2.jpg"] != two["Twemoji/Dogs/2.jpg"]


def test_there_are_enough_artists_and_the_real_objects():
    assert 6 <= len(ARTISTS) and PHOTOS not in ARTISTS
    assert set(OBJECTS) == set(MEMBERS)
    assert {MiniSizes.model_fields["styles"].default, MiniSizes.model_fields["objects"].default} == {6, 20}


def test_every_artist_draws_every_member():
    for style in (*ARTISTS, PHOTOS):
        asset = artist(style).asset
        assert asset in ASSETS
        have = set(icon_names(asset))
        members = {icon_name(asset, member) for members in MEMBERS.values() for member in members}
        assert members <= have, (style, members - have)
    assert {artist(style).asset for style in ARTISTS} >= FACES


def test_the_lists_are_in_mini_json(root):
    truth = json.loads((root / "mini.json").read_text())
    assert "unlearncanvas" == truth["benchmark"] and 0 == truth["seed"]
    assert SIZES.model_dump() == truth["sizes"]


def test_real_data_is_not_overwritten(tmp_path):
    (tmp_path / "data" / "Van_Gogh").mkdir(parents=True)
    with pytest.raises(UserError, match="not a mini edition"):
        write_mini(tmp_path / "data", SIZES, 0)


@pytest.mark.parametrize(
    "sizes", [{"styles": 1}, {"styles": 99}, {"objects": 21}, {"pictures": 2}, {"members": 0}, {"size_px": 8}]
)
def test_sizes_that_cannot_be_are_refused(sizes):
    with pytest.raises(ValueError, match=next(iter(sizes))):
        MiniSizes(**sizes)
