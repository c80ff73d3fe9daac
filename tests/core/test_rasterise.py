"""Icons to pixels."""

import numpy as np
import pytest

from mmunlearn.errors import UserError
from mmunlearn.rasterise import icon


@pytest.fixture
def icons(tmp_path, monkeypatch):
    (tmp_path / "icons.json").write_text(
        '{"icons": {"bar": {"body": "<path fill=\\"#f00\\" d=\\"M0 0h20v10h-20z\\"/>", "width": 20, "height": 10}}}'
    )
    monkeypatch.setenv("MMUNLEARN_ASSET_LOGOS", str(tmp_path))
    from mmunlearn import rasterise

    rasterise._icons.cache_clear()
    yield
    rasterise._icons.cache_clear()


def test_the_longer_side_has_the_size_and_the_rest_is_transparent(icons):
    picture = icon("logos", "bar", 40)
    assert (40, 20) == picture.size and "RGBA" == picture.mode
    assert [255, 0, 0, 255] == np.asarray(picture)[10, 20].tolist()


def test_an_unknown_icon_gets_a_near_miss(icons):
    with pytest.raises(UserError, match=r"no icon 'baa'.*bar"):
        icon("logos", "baa", 16)
