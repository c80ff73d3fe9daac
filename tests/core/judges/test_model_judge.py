"""The model judge: what is sent, what a backend's failures become, what is kept on disk."""

import pytest

from mmunlearn.cards import EvaluationPlan
from mmunlearn.data import Example, Role, Split
from mmunlearn.errors import UserError
from mmunlearn.evaluate import Comparison, judge, reduce
from mmunlearn.judges.base import Item
from mmunlearn.judges.model_judge import ModelJudge
from mmunlearn.records import Shard, read_rows
from mmunlearn.run import Run

N = 40
SPLIT = Split("forget", Role.FORGET, tuple(Example(id=f"e/{i:02d}", prompt=f"q{i}", target="t") for i in range(N)))


def backend(server, **more):
    fast = {"backoff_s": 0.001, "backoff_max_s": 0.002, "retries": 2, "parallel": 2}
    return {"kind": "server", "base_url": server.url, "model": "m"} | fast | more


def plan(server, **more):
    settings = {"name": "model_judge", "template": "safeeraser_refusal", "backend": backend(server, **more)}
    return EvaluationPlan(name="tone", split="forget", judge=settings, metrics=({"name": "mean_verdict", "as": "rr"},))


def answered(path):
    run = Run.scratch(path)
    Shard(path / "responses" / "forget").append({"id": e.id, "text": f"response {e.id}"} for e in SPLIT)
    return run


def number_of(prompt):
    return int(prompt.partition("response e/")[2][:2])


def by_number(prompt):
    return "yes" if number_of(prompt) % 2 else "no"


def test_a_storm_scores_every_row_rightly(server, tmp_path):
    run = answered(tmp_path)
    server.answer = by_number
    faults = ("drop", 429, "garbage", 500)

    class Stormy(dict):
        def get(self, text, default=None):
            i = number_of(text)
            return ([faults[(i + k) % 4] for k in range(i % 3)], None)

    server.script = Stormy()
    rows = judge(run, plan(server), SPLIT.examples, "vlm")
    assert [float(i % 2) for i in range(N)] == rows["value"].tolist()
    stored = read_rows(tmp_path / "verdicts" / "tone")
    assert N == len(stored) and all(row["raw"] == ("yes" if row["value"] else "no") for row in stored)


def test_garbage_is_unscored_counted_and_not_asked_again(server, tmp_path):
    run = answered(tmp_path)
    server.answer = lambda prompt: "well…" if number_of(prompt) < 10 else by_number(prompt)
    cell = reduce(run, [plan(server)], {"forget": SPLIT}, "vlm", Comparison())["tone/rr"]
    assert (N - 10, 10, 0.5) == (cell.n, cell.unscored, cell.value)
    asked = sum(server.asked.values())
    judge(run, plan(server), SPLIT.examples, "vlm")
    assert asked == sum(server.asked.values())


def test_rows_without_an_answer_are_asked_again_and_only_they(server, tmp_path):
    run = answered(tmp_path)
    server.answer = by_number
    failing = True

    class Flaky(dict):
        def get(self, text, default=None):
            return ([500] * 99 if failing and number_of(text) < 3 else [], None)

    server.script = Flaky()
    first = judge(run, plan(server), SPLIT.examples, "vlm")
    assert 3 == sum(first["value"] != first["value"])
    failing = False
    before = sum(server.asked.values())
    second = judge(run, plan(server), SPLIT.examples, "vlm")
    assert 3 == sum(server.asked.values()) - before
    assert [float(i % 2) for i in range(N)] == second["value"].tolist()


def test_a_killed_evaluation_loses_one_batch_at_most(server, tmp_path):
    """The server dies in the middle; what was graded before stands on the disk and is not asked again."""
    run = answered(tmp_path)
    server.answer = by_number

    class Dying(dict):
        def get(self, text, default=None):
            return ([401] * 9, None) if number_of(text) == 20 else ([], None)

    server.script = Dying()
    with pytest.raises(UserError, match="key is refused"):
        judge(run, plan(server), SPLIT.examples, "vlm")
    kept = {row["id"] for row in read_rows(tmp_path / "verdicts" / "tone")}
    assert {f"e/{i:02d}" for i in range(16)} == kept  # batches of 4 x 2
    server.script = {}
    before = sum(server.asked.values())
    rows = judge(run, plan(server), SPLIT.examples, "vlm")
    assert N - 16 == sum(server.asked.values()) - before
    assert [float(i % 2) for i in range(N)] == rows["value"].tolist()


def test_changed_responses_are_graded_afresh_and_the_others_are_not(server, tmp_path):
    run = answered(tmp_path)
    server.answer = by_number
    judge(run, plan(server), SPLIT.examples, "vlm")
    rows = read_rows(tmp_path / "responses" / "forget")
    (tmp_path / "responses" / "forget" / "rows-00000.jsonl").unlink()
    rows[7]["text"] = "response e/08, changed"
    Shard(tmp_path / "responses" / "forget").append(rows)
    before = sum(server.asked.values())
    found = judge(run, plan(server), SPLIT.examples, "vlm")
    assert 1 == sum(server.asked.values()) - before
    assert 0.0 == found["value"][7]
    assert N == len(read_rows(tmp_path / "verdicts" / "tone"))


def test_how_fast_the_server_is_asked_changes_no_key_and_who_is_asked_does(server):
    item = Item(SPLIT[0], {"text": "a"})
    settings = {"template": "safeeraser_refusal"}
    key = ModelJudge(settings | {"backend": backend(server)}).key(item)
    assert key == ModelJudge(settings | {"backend": backend(server, parallel=9, timeout_s=1)}).key(item)
    for other in (backend(server, model="n"), backend(server, temperature=1), backend(server, json_mode="schema")):
        assert key != ModelJudge(settings | {"backend": other}).key(item)
    assert key != ModelJudge({"template": "safeeraser_normality", "backend": backend(server)}).key(item)
    assert key == ModelJudge(settings | {"backend": backend(server)}).key(Item(SPLIT[0], {"text": "a", "nll": 3.0}))


def test_short_answers_are_scored_unasked(server):
    grader = ModelJudge({"template": "fiubench_factuality", "backend": backend(server)})
    server.answer = lambda prompt: "0.75"
    short, long = grader.grade([Item(SPLIT[0], {"text": " abcde "}), Item(SPLIT[1], {"text": "abcdef"})])
    assert (0.0, 0.75) == (short.value, long.value)
    assert 1 == sum(server.asked.values())


def test_json_answers_are_read_by_the_same_rules(server):
    grader = ModelJudge({"template": "mmubench_forgetting", "variables": {"entity": "Ada"},
                         "backend": backend(server, json_mode="object")})  # fmt: skip
    for said, value in (('{"answer": 4}', 4), ('{"answer": "2"}', 2), ('{"answer": 7}', None), ('{"answer": 4', None)):
        server.answer = lambda prompt, said=said: said
        (verdict,) = grader.grade([Item(SPLIT[0], {"text": "a long answer"})])
        assert value == verdict.value if value is not None else not verdict.scored


def test_the_picture_is_sent_where_the_template_shows_it(server, tmp_path):
    from PIL import Image

    from mmunlearn.data import ImageRef

    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    (tmp_path / "sees.yaml").write_text(
        "what: w\nfrom: f\nversion: 1\nprompt: '{response}?'\npicture: true\nlabels: {'yes': 1, 'no': 0}\n"
    )
    example = Example(id="a", prompt="q", image=ImageRef(path=tmp_path / "a.png"))
    grader = ModelJudge({"template": str(tmp_path / "sees.yaml"), "backend": backend(server)})
    assert "yes" == grader.grade([Item(example, {"text": "a dog"})])[0].label
    picture, text = server.requests[-1]["messages"][0]["content"]
    assert picture["image_url"]["url"].startswith("data:image/png") and "a dog?" == text["text"]


@pytest.mark.parametrize(
    ("template", "settings", "text", "value", "label"),
    [
        ("fiubench_factuality", {"rule": {"name": "keywords", "tag": "k"}}, "oslo or so", 0.5, None),
        ("mmubench_forgetting", {"rule": {"name": "keywords", "tag": "k"}}, "oslo 1961", 5, None),
        ("mmubench_forgetting", {"rule": {"name": "keywords", "tag": "k"}, "invert": True}, "oslo 1961", 1, None),
        ("safeeraser_normality", {"rule": "normal"}, "A red car.", 1, "yes"),
        ("safeeraser_normality", {"rule": "degenerate", "invert": True}, "the the the the the the", 0, "no"),
        ("safeeraser_harm", {"rule": {"name": "keywords", "tag": "k"}}, "oslo 1961", 1, "unsafe"),
    ],
)
def test_a_rule_in_the_models_place_keeps_the_templates_scale(template, settings, text, value, label):
    grader = ModelJudge({"template": template, "backend": {"kind": "rule"} | settings})
    (verdict,) = grader.grade([Item(Example(id="a", prompt="q", tags={"k": "oslo\n1961"}), {"text": text})])
    assert (value, label) == (verdict.value, verdict.label)
    assert verdict.explanation.startswith("rule ")


def test_a_plan_takes_another_backend_and_rules_stay(server):
    card = EvaluationPlan(
        name="a", split="s", judge={"name": "model_judge", "backend": {"kind": "rule", "rule": "normal"}}
    )
    assert {"kind": "chat", "model": "m"} == card.with_backend({"kind": "chat", "model": "m"}).judge_settings["backend"]
    rule = EvaluationPlan(name="a", split="s", judge="refusal")
    assert rule == rule.with_backend({"kind": "chat", "model": "m"})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "has no backend"),
        ({"backend": {"kind": "rule"}}, "rule: is required"),
        ({"backend": {"kind": "rule", "rule": {"tag": "k"}}}, "rule needs a name"),
        ({"backend": {"kind": "rule", "rule": "refusel"}}, "Did you mean refusal"),
        ({"backend": {"kind": "server", "model": "m"}}, "base_url: is required"),
        ({"backend": {"kind": "severe"}}, "Did you mean server"),
        ({"template": "no_such"}, "is not known"),
        ({"backends": {}}, "Did you mean backend"),
    ],
)
def test_mistakes_are_said_before_any_work(settings, said):
    with pytest.raises(UserError, match=said):
        ModelJudge(settings).ready()


def test_a_judge_without_a_name_is_refused():
    with pytest.raises(ValueError, match="judge needs a name"):
        EvaluationPlan(name="a", split="s", judge={"template": "x"})
