import json
import shutil

import pytest
from mmunlearn.diffusion import picture_files
from mmunlearn.diffusion.judges.style_object import StyleObject

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.judges.base import Item
from mmunlearn.testing.picture_world import OBJECTS, STYLES, picture_path


@pytest.fixture
def judge(heads_settings):
    return StyleObject(heads_settings.model_dump())


def item(style, thing, path, key="x", **tags):
    return Item(Example(id=key, prompt="p", tags={"style": style, "object": thing} | tags), {"image": str(path)})


def test_verdicts_compare_both_heads_with_the_tags(judge):
    path = picture_path("Dots", "Disc", 1)
    verdicts = judge.grade([item("Dots", "Disc", path), item("Dots", "Square", path), item("Stripes", "Disc", path)])
    assert [1.0, 0.0, 0.0] == [verdict.value for verdict in verdicts]
    assert {"Dots/Disc"} == {verdict.label for verdict in verdicts}
    told = json.loads(verdicts[1].explanation)
    assert "Disc" == told["object"][0] and told["object_asked"] < 0.5 < told["style_asked"]


def test_one_tag_is_enough_and_an_unknown_name_is_unscored(judge):
    path = picture_path("Stripes", "Cross", 1)
    only = Item(Example(id="1", tags={"object": "Cross"}), {"image": str(path)})
    unknown = item("Monet", "Cross", path)
    one, two = judge.grade([only, unknown])
    assert 1.0 == one.value
    assert not two.scored  # whatever is drawn would count as wrong, which looks like unlearning
    assert "the heads know no Monet" == two.explanation


def test_pictures_that_cannot_be_read_are_unscored_and_say_why(judge, tmp_path):
    good = picture_path("Dots", "Disc", 1)
    contents = {"empty.jpg": b"", "text.jpg": b"hello", "cut.jpg": good.read_bytes()[:300]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    bad = [item("Dots", "Disc", tmp_path / name) for name in (*contents, "missing.jpg", "a\0b")]
    verdicts = judge.grade([*bad, item("Dots", "Disc", good)])
    assert [False] * 5 + [True] == [verdict.scored for verdict in verdicts]
    assert all(name in verdict.explanation for name, verdict in zip((*contents, "missing.jpg"), verdicts, strict=False))


def test_verdicts_do_not_depend_on_the_batch(judge):
    items = [item(s, o, picture_path(s, o, n), f"{s}{o}{n}") for s in STYLES for o in OBJECTS for n in (1, 4)]
    together = judge.grade(items)
    assert together == [judge.grade([one])[0] for one in items]
    assert together == judge.grade(items[::-1])[::-1]


def test_each_picture_is_decoded_once_for_both_heads(judge, monkeypatch):
    decoded = []
    inner = picture_files.decode
    monkeypatch.setattr(picture_files, "decode", lambda ref, *a, **k: decoded.append(ref) or inner(ref, *a, **k))
    picture_files.shared_table.cache_clear()
    path = picture_path("Dots", "Disc", 2)
    judge.grade([item("Dots", "Disc", path)])
    judge.grade([item("Stripes", "Disc", path)])
    assert 1 == len(decoded)


def test_the_key_is_that_of_the_content_not_of_the_place(judge, heads_settings, tmp_path):
    path = picture_path("Dots", "Disc", 1)
    shutil.copy(path, tmp_path / "copy.jpg")
    assert judge.key(item("Dots", "Disc", path)) == judge.key(item("Dots", "Disc", tmp_path / "copy.jpg"))
    assert judge.key(item("Dots", "Disc", path)) != judge.key(item("Dots", "Square", path))
    other = StyleObject(heads_settings.model_dump() | {"steps": 61})  # not trained for its key
    assert judge.key(item("Dots", "Disc", path)) != other.key(item("Dots", "Disc", path))
    before = judge.key(item("Dots", "Disc", tmp_path / "later.jpg"))
    shutil.copy(path, tmp_path / "later.jpg")
    assert before != judge.key(item("Dots", "Disc", tmp_path / "later.jpg"))


def test_missing_files_of_heads_are_said_before_any_work(tmp_path):
    with pytest.raises(UserError, match="no such file of weights"):
        StyleObject({"folder": str(tmp_path)}).ready()


def test_full_data_ask_for_the_classifiers_files(tmp_path, judge):
    with pytest.raises(UserError, match="style_weights and object_weights"):
        StyleObject({"root": str(tmp_path)}).ready()
    StyleObject({"root": str(tmp_path), "network": "mini"}).ready()
    judge.ready()
