"""What the demo of each modality runs, on reproductions that are only recorded."""

import pytest

import mmunlearn.reproduce
from mmunlearn import registry
from mmunlearn.cards import read_card
from mmunlearn.errors import UserError
from mmunlearn.reproduce import Plan, points
from mmunlearn.verbs import demo


@pytest.fixture
def recorded(monkeypatch):
    """Every step of the demos in order; no run is made."""
    steps = []
    table = {"benchmark": "", "table": "", "rows": []}
    monkeypatch.setattr(mmunlearn.reproduce, "reproduce", lambda plan, launcher: (steps.append(plan), table)[1])
    monkeypatch.setattr(mmunlearn.reproduce, "report_again", lambda plan: (steps.append("again"), table)[1])
    monkeypatch.setattr("mmunlearn.report.table.nearest", lambda _: ("scrub", 0.1))
    monkeypatch.setattr("mmunlearn.report.printed", lambda table, card, out: f"{card.name} in {out.name}")
    monkeypatch.setattr(demo, "attack", lambda run, control, attacks: steps.append((run.name, control.name, attacks)))
    return steps


@pytest.mark.parametrize("name", demo.DEMOS)
def test_every_demo_is_of_its_modality_and_has_runs_and_attacks_that_exist(name, tmp_path):
    told = demo.DEMOS[name]
    card = read_card(told.benchmark)
    assert name == card.modality
    table = card.pick_table(told.table)
    assert not set(told.rows) - set(card.tables[table].rows)
    asked = points(card, Plan(told.benchmark, tmp_path, table=told.table, rows=told.rows))
    requests = card.tables[table].requests_of("mini")
    assert {"original", "retrain", *told.rows} == {point.row for point in asked}
    # The original is trained once; of a table with requests each row runs for each, but for costly ones that the table
    # gives fewer.
    few = card.tables[table].row_requests.get("mini", {})
    left_out = sum(len(requests) - len(few[row]) for row in few)
    assert len(asked) == (len(told.rows) + 2) * max(len(requests), 1) + bool(requests) - left_out
    assert all(few.values())  # a demo without a retrained model says little
    for attack in told.attacks:
        registry.find("attacks", attack if isinstance(attack, str) else attack["name"], name)


def test_the_diffusion_demo_is_the_cut_table_for_a_style_and_an_object(tmp_path, recorded, capsys):
    demo.command("diffusion", tmp_path)
    (plan,) = recorded  # no attacks, so the table is not made again
    assert ("unlearncanvas", "demo", tmp_path) == (plan.benchmark, plan.table, plan.out)
    card = read_card("unlearncanvas")
    kinds = {card.tables["demo"].requests[name]["request"]["kind"] for name in card.tables["demo"].requests_of("mini")}
    assert {"style", "object"} == kinds
    assert f"unlearncanvas in {tmp_path.name}" in capsys.readouterr().out


def test_attacks_are_on_the_original_and_the_nearest_method(tmp_path, recorded):
    demo.command("vision", tmp_path)
    plan, first, second, again = recorded
    assert "mufac" == plan.benchmark and "again" == again
    assert [("original-s0", "retrain-s0"), ("scrub-s0", "retrain-s0")] == [first[:2], second[:2]]
    assert demo.ATTACKS == first[2] == second[2]


def test_all_runs_every_modality_in_a_folder_of_its_own(tmp_path, recorded):
    demo.command("all", tmp_path)
    plans = [step for step in recorded if isinstance(step, Plan)]
    assert [tmp_path / name for name in ("vision", "vlm", "diffusion")] == [plan.out for plan in plans]
    assert ["mufac", "fiubench", "unlearncanvas"] == [plan.benchmark for plan in plans]


def test_an_unknown_modality_is_named_with_the_near_one(tmp_path):
    with pytest.raises(UserError, match="diffusion"):
        demo.command("difusion", tmp_path)
