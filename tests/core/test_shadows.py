"""The bank of shadow models: halves, cache, resume, signals of the trained models, unlearned shadows."""

import numpy as np
import pytest

from mmunlearn.bank import Bank
from mmunlearn.data import Role, Split
from mmunlearn.errors import UserError
from mmunlearn.methods.retrain import Retrain
from mmunlearn.run import Run, TrainSettings
from mmunlearn.seeds import derive
from mmunlearn.shadows import ShadowSettings, draw_pool, run_bank, shadow_bank
from mmunlearn.testing.tiny import TinyHandle, tiny_splits

RECIPE = {"epochs": 20, "batch_size": 16, "optimiser": {"lr": 0.3, "momentum": 0.9}}
TRAIN = TrainSettings(device="cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMUNLEARN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "shadows"


@pytest.fixture(scope="module")
def data():
    return tiny_splits(forget=8, retain=16, holdout=8)


def _settings(**more):
    return ShadowSettings(**({"models": 4, "recipe": RECIPE} | more))


@pytest.fixture
def trained(monkeypatch):
    """Names of the methods that were applied, in order."""
    log = []
    apply = Retrain.apply
    monkeypatch.setattr(Retrain, "apply", lambda self, *a: log.append("retrain") or apply(self, *a))
    return log


def test_pairs_are_complementary_halves_so_every_example_is_in_half_of_the_models(data):
    pool = draw_pool(data, _settings(models=6))
    assert (6, 32) == pool.member.shape
    assert np.array_equal(pool.member[0::2], ~pool.member[1::2])
    assert [3] * 32 == pool.member.sum(0).tolist()
    assert [16] * 6 == pool.member.sum(1).tolist()
    assert len({row.tobytes() for row in pool.member}) == 6


def test_each_candidate_is_unlearned_in_half_of_the_models_that_trained_on_it(data):
    pool = draw_pool(data, _settings(models=8, candidates=("forget",), forget_frac=0.5))
    candidate = np.asarray(["/forget/" in key for key in pool.split.ids])
    assert not (pool.unlearned & ~(pool.member & candidate)).any()
    assert [2] * int(candidate.sum()) == pool.unlearned.sum(0)[candidate].tolist()
    assert len({column.tobytes() for column in pool.unlearned.T[candidate]}) > 1
    assert 1 == draw_pool(data, _settings(models=2, forget_frac=0.01)).unlearned.sum(0).max()


def test_another_seed_draws_other_halves_and_an_unknown_split_is_named(data):
    assert not np.array_equal(draw_pool(data, _settings()).member, draw_pool(data, _settings(seed=1)).member)
    with pytest.raises(UserError, match="split 'nothing' is not in this data"):
        draw_pool(data, _settings(pool=("nothing",)))


def test_every_model_is_the_recipe_on_its_half(data, tmp_path):
    settings, handle = _settings(models=2), TinyHandle(seed=4)
    bank = Bank.load(shadow_bank(handle, data, settings, TRAIN))
    pool = draw_pool(data, settings)
    for k in range(2):
        half = tuple(e for e, m in zip(pool.split, pool.member[k], strict=True) if m)
        run = Run.scratch(tmp_path / f"plain-{k}", derive(0, "shadow", k), device="cpu")
        model = Retrain(RECIPE | {"on": "train"}).apply(handle.copy(), {"train": Split("train", Role.TRAIN, half)}, run)
        scored = model.score(model.collate(pool.split.examples))
        z = scored.logits[:, 0].double().detach().numpy()
        for i, example in enumerate(pool.split):
            column = bank.ids.index(example.id)
            assert pool.member[k, i] == bank.member[k, column]
            others = np.delete(z[i], example.target)
            expected = z[i, example.target] - np.log(np.exp(others).sum())
            assert pytest.approx(expected, abs=1e-5) == bank.signal("rescaled_logit")[k, column]


def test_members_look_more_like_members_than_the_same_examples_in_the_other_model(data):
    bank = Bank.load(shadow_bank(TinyHandle(), data, _settings(), TRAIN))
    logit = bank.signal("rescaled_logit")
    assert logit[bank.member].mean() > logit[~bank.member].mean() + 1.0


def test_a_bank_is_trained_once_and_a_hit_says_so(data, trained, caplog):
    first = shadow_bank(TinyHandle(), data, _settings(), TRAIN)
    assert 4 == len(trained)
    assert first == shadow_bank(TinyHandle(seed=7), data, _settings(), TRAIN)  # weights of the handle do not matter
    assert 4 == len(trained)
    assert "taken from the cache" in caplog.text


def test_a_larger_bank_keeps_the_models_of_a_smaller_one(data, trained):
    small = Bank.load(shadow_bank(TinyHandle(), data, _settings(), TRAIN))
    large = Bank.load(shadow_bank(TinyHandle(), data, _settings(models=6), TRAIN))
    assert 6 == len(trained)
    assert np.array_equal(small.member, large.member[:4])
    assert np.array_equal(small.signal("loss"), large.signal("loss")[:4])


def test_too_few_shadows_for_a_spread_of_unlearned_models_are_refused_before_any_is_trained(tmp_path):
    with pytest.raises(UserError, match="of 4 models only one unlearns any given example"):
        run_bank(tmp_path, models=4, unlearn=True)


def test_an_estimate_is_printed_before_training(data, capsys):
    shadow_bank(TinyHandle(), data, _settings(models=2), TRAIN)
    assert "2 of 2 shadow models to train, about" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"seed": 1}, {"recipe": RECIPE | {"epochs": 3}}, {"pool": ("train",)}])
def test_another_recipe_pool_or_seed_is_another_bank(data, change):
    small = RECIPE | {"epochs": 1}
    first = shadow_bank(TinyHandle(), data, _settings(models=2, recipe=small), TRAIN)
    assert first != shadow_bank(TinyHandle(), data, _settings(**({"models": 2, "recipe": small} | change)), TRAIN)


def test_a_killed_bank_trains_only_the_missing_models_and_ends_equal(data, cache, monkeypatch):
    whole = Bank.load(shadow_bank(TinyHandle(), data, _settings(), TRAIN))
    for path in cache.rglob("bank-*.safetensors"):
        path.unlink()
    (folder,) = cache.iterdir()
    import shutil

    shutil.rmtree(folder / "model-002")
    made = []
    apply = Retrain.apply
    monkeypatch.setattr(Retrain, "apply", lambda self, h, d, run: made.append(run.path.name) or apply(self, h, d, run))
    again = Bank.load(shadow_bank(TinyHandle(), data, _settings(), TRAIN))
    assert ["work-002"] == made
    assert np.array_equal(whole.signal("confidence"), again.signal("confidence"))
    assert not list(folder.glob("work-*"))


def test_unlearned_shadows_reuse_the_trained_ones(data, trained, tmp_path):
    plain = Bank.load(shadow_bank(TinyHandle(), data, _settings(), TRAIN))
    unlearn = {"name": "grad_diff", "epochs": 12, "optimiser": {"lr": 0.3, "momentum": 0.9}}
    settings = _settings(unlearn=unlearn)
    bank = Bank.load(shadow_bank(TinyHandle(), data, settings, TRAIN))
    assert 4 == len(trained)
    assert np.array_equal(plain.member, bank.member)
    assert plain.unlearned is None
    assert 0 < bank.unlearned.sum()
    assert not (bank.unlearned & ~bank.member).any()
    before, after = plain.signal("rescaled_logit"), bank.signal("rescaled_logit")
    kept = bank.member & ~bank.unlearned
    assert (before - after)[bank.unlearned].mean() > (before - after)[kept].mean() + 1.0


def test_an_odd_number_of_models_is_refused():
    with pytest.raises(ValueError, match="multiple of 2"):
        ShadowSettings(models=3)
