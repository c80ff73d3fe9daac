"""Sizes of mini editions: what a card may ask of its builder."""

from dataclasses import dataclass

import pytest

from mmunlearn import registry
from mmunlearn.errors import UserError

MUFAC = registry.load("benchmarks", "mufac", "vision")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    train_families: int = 1
    val_families: int = 1
    test_families: int = 1
    pictures_per_class: int = 1
    forget_rows: int = 1
    noise_frac: float = 0.5


def test_sizes_are_the_cards_with_the_given_ones_laid_over():
    card = MUFAC().card.editions["mini"].data
    sizes = MUFAC().mini_sizes(Sizes, {"forget_rows": 7})
    assert Sizes(**{**card, "forget_rows": 7}) == sizes


def test_an_unknown_size_is_refused_with_a_near_miss():
    with pytest.raises(UserError, match=r"card mufac: editions.mini.data.train_familys: .* mean train_families"):
        MUFAC().mini_sizes(Sizes, {"train_familys": 7})


@pytest.mark.parametrize("value", ["many", None, 1.5, [3]])
def test_a_size_of_the_wrong_type_is_refused(value):
    with pytest.raises(UserError, match=r"editions.mini.data.forget_rows: .*got"):
        MUFAC().mini_sizes(Sizes, {"forget_rows": value})


def test_a_wrong_key_in_the_card_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    from mmunlearn.mini import cached_mini

    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path))
    benchmark = MUFAC()
    monkeypatch.setitem(benchmark.card.editions["mini"].data, "picture_per_class", 2)
    with pytest.raises(UserError, match="mean pictures_per_class") as raised:
        cached_mini(benchmark)
    assert 1 == len(str(raised.value).splitlines())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
