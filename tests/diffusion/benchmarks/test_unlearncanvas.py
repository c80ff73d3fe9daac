"""UnlearnCanvas: what the splits of each kind of request hold, their published sizes, and the card."""

import json
import os
import shutil

import pytest
from mmunlearn.diffusion.benchmarks.unlearncanvas import Unlearncanvas
from mmunlearn.diffusion.canvas.names import OBJECTS, PHOTOS, THEMES
from mmunlearn.diffusion.emoji.book import ARTISTS, MEMBERS
from mmunlearn.diffusion.emoji.writer import MiniSizes
from PIL import Image

from mmunlearn.cards import read_card
from mmunlearn.data import Role
from mmunlearn.errors import UserError

STYLE = {"kind": "style", "name": "Twemoji"}
OBJECT = {"kind": "object", "name": "Dogs"}
PAIR = {"kind": "pair", "name": "Twemoji/Dogs"}
SEQUENCE = {"kind": "sequence", "name": ["Twemoji", "Dogs"]}
PUBLISHED = {
    "esd", "forget_me_not", "uce", "concept_ablation", "salun", "seot", "spm", "erase_diff", "scissorhands",
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("unlearncanvas") / "mini"
    Unlearncanvas().build_mini(root, 0, {"styles": 3, "objects": 4, "pictures": 6, "size_px": 16})
    return root


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The full layout, every picture a link to one file."""
    root = tmp_path_factory.mktemp("full") / "canvas"
    root.mkdir()
    one = root / "one.jpg"
    Image.new("RGB", (8, 8)).save(one)
    for theme in THEMES:
        for thing in OBJECTS:
            (root / theme / thing).mkdir(parents=True)
            for index in range(1, 21):
                os.link(one, root / theme / thing / f"{index}.jpg")
    one.unlink()
    return root


def splits(root, edition="mini", **config):
    return Unlearncanvas(config).splits(root, edition)


def refusal(root, edition="mini", **config):
    with pytest.raises(UserError) as caught:
        splits(root, edition, **config)
    assert 1 <= len(str(caught.value).splitlines()) <= 4
    return str(caught.value)


def cells(split):
    return {(example.tags["style"], example.tags["object"]) for example in split}


# ---- what the splits hold ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("request_", "holds"),
    [
        (STYLE, lambda style, thing: style == "Twemoji"),
        (OBJECT, lambda style, thing: thing == "Dogs"),
        (PAIR, lambda style, thing: (style, thing) == ("Twemoji", "Dogs")),
        (SEQUENCE, lambda style, thing: style == "Twemoji" or thing == "Dogs"),
    ],
    ids=["style", "object", "pair", "sequence"],
)
def test_forget_and_retain_share_the_training_pictures(built, request_, holds):
    found = splits(built, request=request_)
    grid = {(s, o) for s in ("High_Contrast", "Openmoji", PHOTOS, "Twemoji") for o in
            ("Dogs", "Sandwiches", "Towers", "Trees")}  # fmt: skip
    gone = {cell for cell in grid if holds(*cell)}
    assert gone == cells(found["forget"]) == cells(found["concept"])
    assert grid - gone == cells(found["retain"]) == cells(found["anchor"])
    assert set(found["forget"].ids) | set(found["retain"].ids) == set(found["train"].ids)
    assert 4 * len(grid) == len(found["train"]) and len(grid) == len(found["test"]) == len(found["unseen"])
    assert {"1", "2", "3", "4"} == {e.tags["number"] for e in found["train"]}
    assert ({"5"}, {"6"}) == tuple({e.tags["number"] for e in found[name]} for name in ("test", "unseen"))
    assert not any(e.image for name in ("concept", "anchor", "answers") for e in found[name])


def test_training_pictures_do_not_depend_on_the_request(built):
    """All requests share one original model, and all runs one answer set."""
    every = [splits(built, request=request) for request in (None, STYLE, OBJECT, PAIR, SEQUENCE)]
    assert 1 == len({found["train"].fingerprint for found in every})
    assert 1 == len({found["answers"].fingerprint for found in every})


def test_captions_and_files_agree(built):
    for example in splits(built)["train"]:
        style, thing = example.tags["style"], example.tags["object"]
        said = "Photo" if style == PHOTOS else style.replace("_", " ")
        assert f"A {thing} image in {said} style." == example.prompt
        assert (built / style / thing / f"{example.tags['number']}.jpg") == example.image.path


def test_concept_prompts_hold_their_phrase_and_targets_their_surrogate(built):
    for request in (STYLE, OBJECT, PAIR, SEQUENCE):
        for example in splits(built, request=request)["concept"]:
            phrase, other = example.tags["phrase"], example.tags["surrogate"]
            assert 1 == example.prompt.count(phrase)
            assert example.prompt.replace(phrase, other) == example.target


def test_few_are_the_first_pictures_without_the_photos(built):
    few = splits(built, request=OBJECT)["few"]
    assert {"1", "2", "3"} == {e.tags["number"] for e in few} and PHOTOS not in {e.tags["style"] for e in few}
    assert 3 * 1 == len(splits(built, request=STYLE, few=1, subset={"objects": 3})["few"])


def test_photos_are_the_retained_seed_images(built):
    photos = splits(built, request=OBJECT)["photos"]
    assert {(PHOTOS, "Sandwiches"), (PHOTOS, "Towers"), (PHOTOS, "Trees")} == cells(photos)
    without = splits(built, request=OBJECT, photos=False)
    assert "photos" not in without and PHOTOS not in {e.tags["style"] for e in without["train"]}


def test_what_earlier_requests_have_taken_is_nowhere(built):
    found = splits(built, request=OBJECT, gone=[STYLE])
    for name in ("forget", "retain", "train", "test", "unseen", "few", "concept", "anchor"):
        assert "Twemoji" not in {example.tags["style"] for example in found[name]}, name
    assert "Twemoji" in {example.tags["style"] for example in found["answers"]}


def test_surrogates_can_be_chosen(built):
    concept = splits(built, request=STYLE, surrogate_style="Openmoji")["concept"]
    assert {"Openmoji"} == {example.tags["surrogate"] for example in concept}
    concept = splits(built, request=OBJECT, surrogate_object="Elephant")["concept"]
    assert concept[0].target.startswith("A Elephant image in ")


def test_the_answer_set_words_the_photos_as_its_edition_does(built, real):
    mini = {e.prompt for e in splits(built)["answers"] if e.tags["style"] == PHOTOS}
    full = {e.prompt for e in splits(real, "full")["answers"] if e.tags["style"] == PHOTOS}
    assert all("in Photo style." in prompt for prompt in mini)
    assert all("in Seed Images style." in prompt for prompt in full)
    diffusers = {e.prompt for e in splits(built, prompts="diffusers")["answers"]}
    assert "A Dogs image in photo style" in diffusers


def test_a_subset_takes_the_first_styles_and_objects(built):
    found = splits(built, subset={"styles": 2, "objects": 3})
    assert {"High_Contrast", "Openmoji", PHOTOS} == {e.tags["style"] for e in found["train"]}
    assert 3 * 3 * 2 == len(found["answers"])
    named = splits(built, subset={"styles": ["twemoji"], "objects": ["Trees", "Dogs"]})
    assert {("Twemoji", "Dogs"), ("Twemoji", "Trees"), (PHOTOS, "Dogs"), (PHOTOS, "Trees")} == cells(named["train"])


# ---- the full edition -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "name"), [("style", "Van_Gogh"), ("object", "Dogs"), ("pair", "Van_Gogh/Dogs")], ids=lambda v: v
)
def test_full_counts_are_those_of_the_card(real, kind, name):
    found = splits(real, "full", request={"kind": kind, "name": name})
    counts = {split: facts.count[kind] for split, facts in Unlearncanvas().card.splits.items()}
    assert counts == {split: len(found[split]) for split in counts}


def test_full_answers_are_5100_in_any_request(real):
    found = splits(real, "full", request={"kind": "sequence", "name": ["Van_Gogh", "Dogs"]})
    assert 5100 == len(found["answers"])
    assert 18 * 51 + 18 * 19 == len(found["forget"])


def test_a_count_that_differs_is_refused(real):
    message = refusal(real, "full", request={"kind": "style", "name": "Winter"}, gone=[], few=3, subset={"styles": 99})
    assert "subset.styles: 99" in message


def test_roles_are_those_of_the_card(built):
    facts = Unlearncanvas().card.splits
    assert {name: split.role for name, split in splits(built).items()} == {n: Role(f.role) for n, f in facts.items()}


# ---- malformed --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("config", "fragment"),
    [
        ({"request": {"kind": "style", "name": "Van_Gogh"}}, "no style 'Van_Gogh' in the data"),
        ({"request": {"kind": "object", "name": "Elephants"}}, "no object 'Elephants' in the data"),
        ({"request": {"kind": "pair", "name": "Dogs"}}, "is no pair"),
        ({"request": STYLE, "gone": [STYLE]}, "gone already and requested again"),
        ({"request": STYLE, "gone": [{"kind": "object", "name": "Unicorns"}]}, "no object 'Unicorns'"),
        ({"request": {"kind": "sequence", "name": ["Twemoji", "Openmoji", "High_Contrast"]}, "photos": False},
         "leaves no pictures to keep"),
        ({"request": PAIR, "gone": [OBJECT]}, "leaves no pictures to forget"),
        ({"seeds": [188, 188]}, "repeats a seed"),
        ({"seeds": [-1]}, "negative"),
        ({"subset": {"objects": 9}}, "subset.objects: 9, and the data hold 4"),
        ({"subset": {"objects": ["Dogs", "Sea"]}}, "benchmark.subset.objects: no object 'Sea' in the data"),
        ({"subset": {"styles": ["Seed_Images"]}}, "never forgotten"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_the_data(built, config, fragment):
    assert fragment in refusal(built, **config)


@pytest.mark.parametrize(
    "config",
    [{"request": "Van_Gogh"}, {"request": {"kind": "colour", "name": "red"}}, {"prompts": "poem"}, {"seeds": []},
     {"few": 0}, {"subset": {"styles": 0}}, {"surrogate_style": ""}, {"request": {"name": "Twemoji"}}],
    ids=str,
)  # fmt: skip
def test_settings_of_another_shape(config):
    with pytest.raises(UserError, match=next(iter(config))) as caught:
        Unlearncanvas(config)
    assert 1 <= len(str(caught.value).splitlines()) <= 4


def test_a_style_that_the_mini_has_lost(built, tmp_path):
    shutil.copytree(built, tmp_path / "data")
    for theme in ("High_Contrast", "Openmoji", PHOTOS, "Twemoji"):
        shutil.rmtree(tmp_path / "data" / theme)
    assert "no style folder" in refusal(tmp_path / "data")


def test_too_few_pictures_of_a_cell(built, tmp_path):
    shutil.copytree(built, tmp_path / "data")
    for index in range(3, 7):
        (tmp_path / "data" / "Twemoji" / "Dogs" / f"{index}.jpg").unlink()
    assert "Twemoji/Dogs: 2 pictures; at least 3" in refusal(tmp_path / "data")


def test_an_empty_folder_says_what_is_needed(tmp_path):
    message = refusal(tmp_path, "full")
    assert str(tmp_path) in message and read_card("unlearncanvas").source.what in message


# ---- the card ---------------------------------------------------------------------------------------------------
def test_the_full_edition_asks_for_fifty_styles_and_twenty_objects():
    card = read_card("unlearncanvas")
    asked = [card.asked("main", name)["request"] for name in card.tables["main"].requests_of("full")]
    assert [s for s in THEMES if s != PHOTOS] == [r["name"] for r in asked if r["kind"] == "style"]
    assert list(OBJECTS) == [r["name"] for r in asked if r["kind"] == "object"]


@pytest.mark.parametrize("edition", ["mini", "full"])
@pytest.mark.parametrize("table", list(read_card("unlearncanvas").tables))
def test_requests_of_an_edition_name_what_its_data_hold(tmp_path, table, edition):
    """Lists of the whole mini edition, without its pictures."""
    if edition == "mini":
        sizes = MiniSizes(**Unlearncanvas().card.editions["mini"].data)
        themes = sorted([*list(ARTISTS)[: sizes.styles], PHOTOS])
        (tmp_path / "mini.json").write_text(json.dumps({"themes": themes, "objects": sorted(MEMBERS)}))
    card = read_card("unlearncanvas")
    for name in card.tables[table].requests_of(edition):
        benchmark = Unlearncanvas(card.asked(table, name))
        (wanted,), _ = benchmark.requested(benchmark.names(tmp_path))
        assert name.removeprefix(f"{wanted.kind}_").replace("_", " ") == wanted.title.replace("/", " ").replace(
            "_", " "
        )


def test_at_least_three_styles_and_three_objects_in_the_mini_edition():
    kinds = [name.partition("_")[0] for name in read_card("unlearncanvas").tables["main"].requests_of("mini")]
    assert kinds.count("style") >= 3 and kinds.count("object") >= 3


def test_a_sequence_takes_what_earlier_requests_named():
    table = read_card("unlearncanvas").tables["sequential"]
    for edition in ("mini", "full"):
        steps = [table.requests[name] for name in table.requests_of(edition)]
        assert len(steps) >= 4
        for place, step in enumerate(steps):
            assert [earlier["request"] for earlier in steps[:place]] == step.get("gone", [])


def test_published_rows_are_complete():
    paper = read_card("unlearncanvas").tables["main"].paper
    assert PUBLISHED == set(paper.cells) and {10} == {len(cells) for cells in paper.cells.values()}
    assert PUBLISHED <= set(paper.footnotes)
    rates = [v for cells in paper.cells.values() for cell, v in cells.items() if cell.startswith(("style", "object"))]
    assert all(0 < rate < 1 for rate in rates) and 54 == len(rates)
    assert (0.9858, 0.3467) == (paper.cells["esd"]["style/ua"], paper.cells["uce"]["object/cra"])


def test_style_transfer_of_the_first_version_has_nine_methods():
    table = read_card("unlearncanvas").published["style_transfer"]
    assert 9 == len(table.rows) and 11 == len(table.columns)
    assert (19.75, 0.62) == (table.rows["StyTr2"][0], table.rows["StyTr2"][4])


@pytest.mark.parametrize(
    ("table", "config", "expected"),
    [
        ("main", {}, set()),
        ("main", {"request": STYLE}, {"style", "quality"}),
        ("main", {"request": OBJECT}, {"object", "quality"}),
        ("main", {"request": PAIR}, {"quality"}),
        ("combination", {"request": PAIR}, {"pair", "quality"}),
        ("sequential", {"request": OBJECT}, {"object", "quality", "sequential"}),
        ("sequential", {}, set()),
    ],
)
def test_what_is_measured_fits_the_request(table, config, expected):
    assert expected == {plan.name for plan in Unlearncanvas(config).plans(table)}


def test_heads_and_inception_networks_of_the_settings_are_used():
    heads = {"style_weights": "s.pth", "object_weights": "o.pth"}
    config = {"request": STYLE, "heads": heads, "inception": {"unlearncanvas": "inception.pth"}}
    plans = {plan.name: plan for plan in Unlearncanvas(config).plans("main")}
    assert heads.items() <= plans["style"].judge_settings.items()
    assert all(metric["heads"] == heads for metric in plans["quality"].metrics)
    (fid,) = plans["inception"].metrics
    assert ("quality", "fid_unlearncanvas", "inception.pth") == (
        plans["inception"].prefix, fid["name"], fid["weights"]
    )  # fmt: skip
    assert "/data" == plans["inception"].at("/data").metrics[0]["root"]
    assert "/data" == plans["style"].at("/data").judge_settings["root"]
    assert "" == plans["style"].at(None).judge_settings["root"]
