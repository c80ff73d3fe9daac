"""Attacks on goals through the stage: figures against loops, resumed goals, pictures, replay, transfer, the control."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from mmunlearn.diffusion.toy import toy_handle, toy_splits

from mmunlearn import attack_outcomes as outcomes
from mmunlearn.attack_goals import budgets
from mmunlearn.attack_options import AttackOptions, Question, Stage
from mmunlearn.attack_replay import replayed, winners_as_attack
from mmunlearn.attack_stage import make_stage, run_stage
from mmunlearn.attack_target import Target
from mmunlearn.attacks.base import Access
from mmunlearn.attacks.base_goals import InputAttack, InputSettings, Reading, ReadoutAttack, Trial
from mmunlearn.data import ImageRef, spread
from mmunlearn.errors import UserError
from mmunlearn.handle import Decoding, weights_digest
from mmunlearn.intervals import wilson
from mmunlearn.run import Run, TrainSettings
from mmunlearn.testing.method_checks import toy
from mmunlearn.testing.tiny import TinyHandle, memorise, tiny_splits

FACTORS = (-1.0, 0.3, 2.0, -0.2, 0.0)


class Scaled(InputAttack):
    """The goal's vector times a few factors, in that order."""

    access = Access.LOGITS
    searched: list[str] = []

    class Config(InputSettings):
        candidates: int = 4

    def search(self, handle, goals, seed):
        handle.score(handle.collate(goals))
        self.searched += [goal.id for goal in goals]
        for index, goal in enumerate(goals):
            for number, factor in enumerate(FACTORS):
                vector = [factor * x for x in json.loads(goal.prompt)]
                yield Trial(replace(goal, prompt=json.dumps(vector)), -number, index, f"times {factor}")


class Dimmed(InputAttack):
    """The goal's picture at half its brightness, then the goal itself."""

    access = Access.IMAGE

    def search(self, handle, goals, seed):
        from PIL import Image

        for index, goal in enumerate(goals):
            dim = Image.fromarray((np.asarray(goal.image.open()) // 2).astype(np.uint8))
            buffer = io.BytesIO()
            dim.save(buffer, "PNG")
            yield Trial(replace(goal, image=ImageRef(content=buffer.getvalue())), 1.0, index, "dim")
            yield Trial(goal, 0.0, index, "as it is")


class Words(ReadoutAttack):
    """Reads as many candidates as the goal's number; the last one is it for every other goal, the first has none."""

    def read(self, handle, goals, seed):
        found = []
        for goal in goals:
            number = int(goal.id.rpartition("/")[2]) % 4
            found.append([Reading(f"word {k}", "layer 1", number % 2 == 1 and k == number - 1) for k in range(number)])
        return found


class Sneaky(InputAttack):
    """Asks for more than it declares."""

    access = Access.TEXT

    def search(self, handle, goals, seed):
        handle.score(handle.collate(goals))
        yield from ()


@pytest.fixture(scope="module")
def data():
    return tiny_splits()


@pytest.fixture(scope="module")
def trained(data):
    return memorise(TinyHandle(seed=0), data["train"], steps=60)


@pytest.fixture
def target(tmp_path, data, trained):
    return Target(tmp_path / "run", trained.copy(), data, "tiny", 3, TrainSettings(device="cpu"))


def _run(target):
    return Run.scratch(target.path, target.seed, device="cpu")


def _attack(cls=Scaled, *, limit=0, title="scaled", options=None, **settings):
    return Stage(cls(settings), title, AttackOptions(limit=limit, **(options or {})))


def _right(handle, example):
    (answer,) = handle.respond([example], Decoding(), 0)
    return int(np.argmax(answer.fields["logits"][0])) == example.target


def _scaled(goal, factor):
    return replace(goal, prompt=json.dumps([factor * x for x in json.loads(goal.prompt)]))


def _timeless(results):
    for part in (results, *results["curve"]):
        part["cost"]["seconds"] = 0.0
    results["cost_per_goal"]["seconds"] = 0.0
    return results


def test_success_at_each_budget_equals_asking_one_by_one(target, data):
    results = run_stage(_attack(), target, _run(target))
    goals = data["forget"].examples
    hits = [[_right(target.handle, _scaled(goal, factor)) for factor in FACTORS] for goal in goals]
    for budget in (1, 2, 4):
        cell = results["cells"][f"scaled/success_at_{budget}"]
        found = sum(any(own[:budget]) for own in hits)
        assert found / len(goals) == cell["value"]
        assert tuple(pytest.approx(float(end)) for end in wilson(found, len(goals))) == (cell["low"], cell["high"])
    assert results["cells"]["scaled/success"]["value"] == results["cells"]["scaled/success_at_4"]["value"]
    assert (
        sum(_right(target.handle, goal) for goal in goals) / len(goals) == results["cells"]["scaled/success"]["clean"]
    )
    assert 4.0 == results["cells"]["scaled/candidates"]["value"]
    assert ["1 candidate", "2 candidates", "4 candidates"] == [point["budget"] for point in results["curve"]]


def test_the_record_names_goals_judge_access_and_cost(target, data):
    results = run_stage(_attack(limit=5), target, _run(target))
    assert ("forget", {"name": "exact"}, "LOGITS") == (results["goals"], results["judge"], results["access"])
    assert {"asked": 5, "unscored": 0} == results["goals_attacked"]
    assert (5, 1.0) == (results["cost"]["queries"], results["cost_per_goal"]["queries"])
    assert json.loads(json.dumps(results)) == json.loads((target.path / "attacks/scaled/results.json").read_text())


def test_the_model_and_everything_outside_the_attacks_folder_stay(target):
    before = weights_digest(target.handle.module)
    run_stage(_attack(limit=3), target, _run(target))
    assert before == weights_digest(target.handle.module)
    assert ["attacks"] == [path.name for path in target.path.iterdir()]


def test_a_killed_attack_goes_on_with_the_goals_that_are_missing(target, monkeypatch):
    whole = run_stage(_attack(title="whole", together=3), target, _run(target))
    search = Scaled.search

    def killed(self, handle, goals, seed):
        if len(self.searched) >= 6:
            raise KeyboardInterrupt
        return search(self, handle, goals, seed)

    stage = _attack(together=3)
    monkeypatch.setattr(Scaled, "searched", [])
    monkeypatch.setattr(Scaled, "search", killed)
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage, target, _run(target))
    assert not (target.path / "attacks" / "scaled" / "results.json").exists()
    monkeypatch.undo()
    before = set(outcomes.read(target.path / "attacks" / "scaled", outcomes.by_id(target.data["forget"].examples)))
    assert 6 == len(before)
    monkeypatch.setattr(Scaled, "searched", [])
    resumed = run_stage(_attack(together=5), target, _run(target))
    assert set(target.data["forget"].ids) - before == set(Scaled.searched)
    kept = {k.partition("/")[2]: v for k, v in _timeless(resumed)["cells"].items()}
    assert {k.partition("/")[2]: v for k, v in _timeless(whole)["cells"].items()} == kept
    assert whole["cost"] == resumed["cost"]


def test_a_row_cut_off_by_a_crash_is_made_again(target, monkeypatch):
    first = run_stage(_attack(limit=4), target, _run(target))
    (rows,) = (target.path / "attacks" / "scaled" / "goals").glob("rows-*.jsonl")
    rows.write_bytes(rows.read_bytes()[:-20])
    monkeypatch.setattr(Scaled, "searched", [])
    again = run_stage(_attack(limit=4), target, _run(target))
    assert 1 == len(Scaled.searched)
    assert _timeless(first)["cells"] == _timeless(again)["cells"]


def test_more_goals_are_added_to_those_that_are_there(target, monkeypatch):
    run_stage(_attack(limit=4), target, _run(target))
    monkeypatch.setattr(Scaled, "searched", [])
    results = run_stage(_attack(limit=7), target, _run(target))
    assert (3, 7) == (len(Scaled.searched), results["cells"]["scaled/success"]["n"])


def test_a_smaller_limit_is_a_part_of_a_larger_one_in_the_splits_order(data):
    forget = data["forget"]
    four, seven = spread(forget, 4).ids, spread(forget, 7).ids
    assert set(four) < set(seven)
    assert list(seven) == [key for key in forget.ids if key in set(seven)]
    assert forget.ids == spread(forget, 0).ids == spread(forget, 99).ids


def test_other_settings_are_refused_and_fresh_replaces(target):
    run_stage(_attack(limit=2), target, _run(target))
    with pytest.raises(UserError, match=r"other settings .*candidates"):
        run_stage(_attack(limit=2, candidates=2), target, _run(target))
    assert 2 == run_stage(_attack(limit=2, candidates=2), target, _run(target), fresh=True)["settings"]["candidates"]


def test_another_model_in_the_run_starts_afresh(target, data):
    run_stage(_attack(limit=3), target, _run(target))
    other = replace(target, handle=TinyHandle(seed=9))
    results = run_stage(_attack(limit=3), other, _run(target))
    goals = spread(data["forget"], 3)
    assert sum(_right(other.handle, goal) for goal in goals) / 3 == results["clean"]["success"]["value"]


def test_more_access_than_declared_is_refused(target):
    with pytest.raises(PermissionError, match="did not declare"):
        run_stage(_attack(Sneaky), target, _run(target))


def test_read_outs_count_whole_candidate_sets(target, data):
    results = run_stage(_attack(Words, title="words"), target, _run(target))
    numbers = [int(goal.id.rpartition("/")[2]) % 4 for goal in data["forget"]]
    assert sum(n % 2 for n in numbers) / len(numbers) == results["cells"]["words/success"]["value"]
    assert sum(n == 1 for n in numbers) / len(numbers) == results["cells"]["words/success_at_1"]["value"]
    assert np.mean(numbers) == results["cells"]["words/candidates"]["value"]
    with pytest.raises(UserError, match="no candidate that succeeded"):
        replayed(Question(target, AttackOptions()), target.path / "attacks" / "words")


def test_goals_that_the_judge_cannot_grade_are_left_out_and_counted(target):
    results = run_stage(_attack(options={"judge": "keywords"}), target, _run(target))
    assert (0, None) == (results["cells"]["scaled/success"]["n"], results["cells"]["scaled/success"]["value"])
    assert len(target.data["forget"]) == results["goals_attacked"]["unscored"]


def test_the_control_meets_the_same_goals_and_the_difference_is_paired(target, data):
    retrained = memorise(TinyHandle(seed=1), data["retain"], steps=60)
    control = Target(target.path.parent / "retrain", retrained, data, "tiny", 8, target.train)
    alone = run_stage(_attack(), target, _run(target))
    both = run_stage(_attack(), target, _run(target), control=control)
    assert alone["cells"] == both["cells"]
    assert not control.path.exists()
    goals = data["forget"].examples
    clean = np.mean([_right(retrained, goal) for goal in goals])
    under = [any(_right(retrained, _scaled(goal, f)) for f in FACTORS[:4]) for goal in goals]
    assert (clean, np.mean(under)) == (
        both["control"]["cells"]["scaled/success"]["clean"], both["control"]["cells"]["scaled/success"]["value"],
    )  # fmt: skip
    own = [any(_right(target.handle, _scaled(goal, f)) for f in FACTORS[:4]) for goal in goals]
    assert pytest.approx(np.mean(own) - np.mean(under)) == both["above_control"]["value"]
    assert isinstance(both["leaks"], bool)


class Told(Scaled):
    """Gives each goal the input of a retained example of its class: it teaches the answer to any model."""

    teachers = ()

    def search(self, handle, goals, seed):
        for index, goal in enumerate(goals):
            same = next(e for e in self.teachers if e.target == goal.target)
            yield Trial(replace(goal, prompt=same.prompt), 0.0, index, "told")


def test_an_attack_that_tells_the_answer_leaks_and_one_that_asks_again_does_not(target, data, monkeypatch):
    retrained = memorise(TinyHandle(seed=1), data["retain"], steps=60)
    control = Target(target.path.parent / "retrain", retrained, data, "tiny", 3, target.train)
    monkeypatch.setattr(Told, "teachers", [e for e in data["retain"] if _right(retrained, e)])
    told = run_stage(_attack(Told, title="told"), target, _run(target), control=control)
    assert told["control"]["cells"]["told/success"]["value"] == 1.0
    assert told["control"]["cells"]["told/success"]["clean"] < 0.6
    assert told["leaks"] and told["control_difference"]["low"] > 0
    same = run_stage(_attack(Words, title="words", limit=2), target, _run(target), control=control)
    assert not same["leaks"]


def test_winners_succeed_again_from_disk_and_a_changed_model_is_noticed(target):
    results = run_stage(_attack(), target, _run(target))
    folder = target.path / "attacks" / "scaled"
    found = replayed(Question(target, AttackOptions(limit=0)), folder)
    won = round(results["cells"]["scaled/success"]["value"] * len(target.data["forget"]))
    assert (won, won, 1.0) == (found["asked"], found["succeeded_again"], found["value"])
    other = replace(target, handle=TinyHandle(seed=9))
    assert replayed(Question(other, AttackOptions(limit=0)), folder)["succeeded_again"] < won


def test_winners_of_another_run_are_asked_of_this_model_without_a_search(target, data, monkeypatch):
    run_stage(_attack(limit=5), target, _run(target))
    source = target.path / "attacks" / "scaled"
    other = Target(target.path.parent / "other", TinyHandle(seed=9), data, "tiny", 3, target.train)
    monkeypatch.setattr(Scaled, "searched", [])
    options = {"candidates_from": str(source)}
    results = run_stage(_attack(title="transferred", options=options), other, _run(other))
    assert [] == Scaled.searched
    goals = outcomes.by_id(data["forget"].examples)
    won = {key: o.best.candidate for key, o in outcomes.read(source, goals).items() if o.best.verdict.value >= 0.5}
    assert {"asked": len(won), "unscored": 0, "without_candidate": len(goals) - len(won)} == results["goals_attacked"]
    expected = np.mean([_right(other.handle, candidate) for candidate in won.values()])
    assert expected == results["cells"]["transferred/success"]["value"]
    assert 0 == results["cost"]["queries"]
    with pytest.raises(UserError, match="holds no candidates"):
        winners_as_attack(target.path / "nowhere", Scaled(), goals)


def test_transferred_candidates_get_a_title_of_their_own(tmp_path):
    options = AttackOptions(candidates_from=str(tmp_path / "npo-s0" / "attacks" / "x"))
    with pytest.raises(UserError, match="has no candidates"):
        make_stage("prune", "tiny", options)


def test_pictures_of_candidates_are_stored_once_and_read_back(tmp_path):
    task = toy("vision")
    target = Target(tmp_path / "run", task.original.copy(), task.splits, "vision", 0, TrainSettings(device="cpu"))
    results = run_stage(_attack(Dimmed, title="dim", limit=4, candidates=2), target, _run(target))
    folder = target.path / "attacks" / "dim"
    goals = outcomes.by_id(spread(task.splits["forget"], 4).examples)
    stored = outcomes.read(folder, goals)
    assert 4 == len(list((folder / "inputs").iterdir()))
    for key, outcome in stored.items():
        dim, same = (one.candidate for one in outcome.tries)
        assert goals[key].image.digest == same.image.digest
        wanted = np.asarray(goals[key].image.open()) // 2
        assert np.array_equal(wanted, np.asarray(dim.image.open()))
    asked = replayed(Question(target, AttackOptions(limit=4)), folder)
    assert asked["asked"] == asked["succeeded_again"] == round(4 * results["cells"]["dim/success"]["value"])
    next((folder / "inputs").iterdir()).unlink()
    with pytest.raises(UserError, match="is missing"):
        outcomes.read(folder, goals)


class Prefixed(InputAttack):
    """The question after a few words, and as it is."""

    access = Access.TEXT

    def search(self, handle, goals, seed):
        for index, goal in enumerate(goals):
            yield Trial(replace(goal, prompt=f"Well. {goal.prompt}"), 0.0, index, "well")
            yield Trial(goal, -1.0, index, "as it is")


def test_text_answers_are_judged_by_keywords_of_the_forgotten_answer(tmp_path):
    task = toy("vlm")
    target = Target(tmp_path / "run", task.original.copy(), task.splits, "vlm", 0, TrainSettings(device="cpu"))
    results = run_stage(_attack(Prefixed, title="prefix", limit=4, candidates=2), target, _run(target))
    assert {"name": "keywords", "binary": True} == results["judge"]
    stored = outcomes.read(target.path / "attacks" / "prefix", outcomes.by_id(task.splits["forget"].examples))
    for outcome in stored.values():
        goal = next(e for e in task.splits["forget"] if e.id == outcome.id)
        for one in outcome.tries:
            text = target.handle.respond([one.candidate], Decoding(), 0)[0].fields["text"]
            assert text == one.answer["text"]
            assert float(goal.tags["keywords"] in text) == one.verdict.value
            assert not any(name.startswith("token_") for name in one.answer)
    assert results["cells"]["prefix/success"]["clean"] > 0.5


def test_pictures_are_drawn_under_the_attack_and_judged_where_they_lie(tmp_path, monkeypatch):
    from mmunlearn.judges.base import Verdict
    from mmunlearn.judges.exact import Exact

    # Untrained: what it draws does not matter, the judge is a stand-in.
    target = Target(tmp_path / "run", toy_handle(), toy_splits(), "diffusion", 0, TrainSettings(device="cpu"))
    options = {"goals": "answers", "splits": ["forget"]}
    with pytest.raises(UserError, match=r"options\.judge"):
        run_stage(_attack(Prefixed, title="prefix", limit=2, options=options), target, _run(target))
    seen = []

    def grade(self, items):
        seen.extend(item.fields["image"] for item in items)
        return [Verdict(float("#" in item.example.id), None) for item in items]

    monkeypatch.setattr(Exact, "grade", grade)
    stage = _attack(Prefixed, title="prefix", limit=2, candidates=2, options=options | {"judge": "exact"})
    results = run_stage(stage, target, _run(target))
    pictures = target.path / "attacks" / "prefix" / "pictures"
    assert all(path.startswith(str(pictures)) for path in seen)
    assert 6 == len(seen) == len(list(pictures.glob("*.jpg")))  # a clean one and two candidates of each goal
    assert (0.0, 1.0) == (results["cells"]["prefix/success"]["clean"], results["cells"]["prefix/success"]["value"])
    found = replayed(Question(target, stage.options), target.path / "attacks" / "prefix")
    assert (2, 2) == (found["asked"], found["succeeded_again"])
    assert 2 == len(list((target.path / "attacks/prefix/replay/pictures").glob("*.jpg")))


def test_answers_that_no_judge_gave_are_asked_for_again(target, monkeypatch):
    from mmunlearn.judges.base import UNSCORED
    from mmunlearn.judges.exact import Exact

    grade = Exact.grade
    monkeypatch.setattr(Exact, "grade", lambda self, items: [UNSCORED._replace(again=True) for _ in items])
    first = run_stage(_attack(limit=3), target, _run(target))
    assert 3 == first["goals_attacked"]["unscored"]
    monkeypatch.setattr(Exact, "grade", grade)
    assert 0 == run_stage(_attack(limit=3), target, _run(target))["goals_attacked"]["unscored"]


def test_budgets_go_up_in_ones_twos_and_fives():
    assert [1, 2, 5, 10, 20, 50, 60] == budgets(60)
