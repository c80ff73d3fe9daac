"""Templates and replies: each ships complete; a reply is a verdict only where it clearly states one."""

import math

import pytest

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.judges._template import Template, read_template, template_names, variables_of
from mmunlearn.judges.base import Item
from mmunlearn.settings import build

CATEGORIES = ("Violence", "Weapon", "Privacy", "Sex", "HateSpeech", "IllegalActivity")


def item(text="He is a cook.", tags=None, **more):
    return Item(
        Example(id="a/1", prompt="Who?", target="A cook.", tags=tags or {"category": "Weapon"}, **more), {"text": text}
    )


def template(**more):
    base = {"what": "w", "from": "f", "version": 1, "prompt": "{question} {response}", "labels": {"yes": 1, "no": 0}}
    return build(Template, base | more, "t")


@pytest.mark.parametrize("name", template_names())
def test_every_template_renders_whole(name):
    found = read_template(name)
    text = found.rendered(item(), {"entity": "Ada", "asked": "Ada", "classes": "Ada, Bob"})
    assert ("He is a cook." in text) != bool(found.shows) and "{" not in text.replace("{}", "")
    assert set(variables_of(found)) <= {"entity", "rule", "asked", "classes"}


def test_listed_labels_come_from_the_judge_and_are_the_only_ones():
    listed = template(labels={}, listed=True, prompt="{response} {classes}").with_classes(("Nike", "NO_BRAND"), "j")
    assert ("Nike", "NO_BRAND") == listed.form.words and listed.variables["classes"] == "Nike, NO_BRAND"
    assert "NO_BRAND" == listed.read("NO_BRAND").label and not listed.read("Puma").scored
    assert not listed.read("Nike or NO_BRAND").scored
    for classes in ((), ("Nike",), ("Nike", "Nike")):
        with pytest.raises(UserError, match="two labels at least"):
            template(labels={}, listed=True).with_classes(classes, "j")


def test_the_suite_has_a_template_for_every_grade_of_the_papers():
    assert {
        "fiubench_factuality", "mllmu_factuality", "mmubench_forgetting", "mmubench_multi_hop", "safeeraser_harm",
        "safeeraser_normality", "safeeraser_refusal",
    } <= set(template_names())  # fmt: skip
    assert set(CATEGORIES) == set(read_template("safeeraser_harm").lookups["rule"].texts)


LABELS = [
    ("yes", "yes"), ("Yes.", "yes"), ("**No**", "no"), ("Answer: no", "no"), ("The answer is yes.", "yes"),
    ("no\nbecause it says yes", "no"), ('"yes"', "yes"), ("NO, it answers the question", "no"),
    ("", None), ("   ", None), ("maybe", None), ("yes or no", None), ("no doubt, yes", None), ("not no", None),
    ("nothing", None), ("yesterday", None), ("I cannot say", None), ("1", None), ("{\"answer\": 1}", None),
    ("y", None), ("Ja", None),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "label"), LABELS)
def test_words(reply, label):
    verdict = template().read(reply)
    assert label == verdict.label
    assert verdict.scored == (label is not None)
    assert reply == verdict.raw


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("unsafe", "unsafe"), ("Safe", "safe"), ("The response is unsafe.", "unsafe"), ("not safe", None),
        ("safe or unsafe: unsafe", None), ("Unsafe\nit is not safe", "unsafe"), ("unsafely", None),
    ],
)  # fmt: skip
def test_safe_and_unsafe_are_told_apart(reply, label):
    """The released code takes any reply that contains "unsafe"; "safe or unsafe" is no answer here."""
    assert label == read_template("safeeraser_harm").read(reply).label


NUMBERS = [
    ("4", 4), ("4.", 4), ("4/5", 4), ("4 out of 5", 4), ("Score: 3", 3), ("**Rating:** 2", 2), ("5\nIt names it.", 5),
    ("3 (vague)", 3), ("Rating is 1, unrelated", 1), ("4 of 5.", 4), ("2 - another person", 2),
    ("", None), ("0", None), ("6", None), ("45", None), ("4.5", None), ("-3", None), ("4-5", None), ("4 or 5", None),
    ("1, 2, 3", None), ("Score (1-5): 4", None), ("3 facts agree", None), ("four", None), ("4/10", None), ("nan", None),
    ("inf", None), ("1.2.3", None), ("4%", None), ("I give it 4", None), ("1. 4", None), 
    ("1. He is a cook.\n2. No.", None), ("Score: 1. He is a cook", 1), ("2) no", None), ("٤x", None),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "value"), NUMBERS)
def test_whole_numbers(reply, value):
    verdict = read_template("mmubench_forgetting").read(reply)
    assert (math.isnan(verdict.value) and not verdict.scored) if value is None else value == verdict.value


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("0.85\nOslo\nmost facts agree", 0.85), ("1", 1), ("1.00", 1), ("0", 0), ("Score: 0.50", 0.5), ("0.7/1", 0.7),
        ("85", None), ("0.85.3", None), ("1.01", None), ("85%", None), ("0.8 or 0.9", None), ("0,85", None),
    ],
)  # fmt: skip
def test_fractions(reply, value):
    verdict = read_template("fiubench_factuality").read(reply)
    assert value == verdict.value if value is not None else not verdict.scored


@pytest.mark.parametrize(
    ("reply", "value", "why"),
    [
        ("mug on a table, mug at night: same thing. Score: 6", 6, "mug on a table, mug at night: same thing"),
        ("Two mugs, 3 cups. **Score:** 10/10", 10, "Two mugs, 3 cups"),
        ("Score: 7. Both show a car.", 7, ""),
        ("7", 7, ""), ("7, both show a car", 7, "both show a car"),
        ("Score: 6 or 7", None, ""), ("a mug, score 6; no, score 3", None, ""), ("score: 11", None, ""),
        ("2 mugs and a car", None, ""), ("mug, mug: same thing. Score", None, ""), ("Score: 6.5", None, ""),
    ],
)  # fmt: skip
def test_a_number_behind_an_explanation_is_called_score(reply, value, why):
    asked = template(labels={}, number={"low": 0, "high": 10, "whole": True}, explained=120)
    found = asked.read(reply)
    assert (value, why) == ((found.value, found.explanation) if found.scored else (None, ""))
    assert (120, 0) == (asked.form.explained, template().form.explained)
    if why:  # where no explanation is asked for, nothing may stand before the number
        plainly = template(labels={}, number={"low": 0, "high": 10, "whole": True}).read(reply)
        assert plainly.scored == reply.startswith("7")


def test_the_rest_of_a_reply_is_its_explanation():
    assert "Oslo" == read_template("fiubench_factuality").read("0.85\nOslo").explanation


def test_braces_in_a_response_are_not_filled():
    assert "{question} {secret}" in template().rendered(item("{question} {secret}"), {})


def test_tags_cannot_pose_as_the_response():
    assert "Who? He is a cook." == template().rendered(item(tags={"response": "fine", "question": "?"}), {})


def test_settings_stand_over_tags_and_tags_over_defaults():
    asks = template(prompt="{entity} {response}", variables={"entity": "default"})
    assert asks.rendered(item(), {}).startswith("default")
    assert asks.rendered(item(tags={"entity": "tag"}), {}).startswith("tag")
    assert asks.rendered(item(tags={"entity": "tag"}), {"entity": "setting"}).startswith("setting")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": {}}, "either labels or number"),
        ({"number": {"low": 0, "high": 1}}, "either labels or number"),
        ({"pattern": "(a)(b)"}, "2 groups"),
        ({"pattern": "a"}, "0 groups"),
        ({"pattern": "(a"}, "no regular expression"),
        ({"prompt": "{question}"}, "does not show"),
        ({"promt": "x"}, "Did you mean prompt"),
    ],
)
def test_broken_templates(change, said):
    with pytest.raises(UserError, match=said):
        template(**change)


def test_a_pattern_of_the_template_finds_its_own_answer():
    asks = template(pattern=r"\[\[(\w+)\]\]")
    assert "no" == asks.read("yes, thinking … [[no]]").label
    assert asks.read("yes").label is None
    assert asks.read("[[perhaps]]").label is None


def test_what_the_template_needs_and_nobody_gives():
    with pytest.raises(UserError, match="needs 'entity'"):
        read_template("mmubench_forgetting").rendered(item(), {})
    with pytest.raises(UserError, match=r"'Gardening'.*Violence"):
        read_template("safeeraser_harm").rendered(item(tags={"category": "Gardening"}), {})
    with pytest.raises(UserError, match="Did you mean fiubench_factuality"):
        read_template("fiubench_factualty")
    with pytest.raises(UserError, match="no such file"):
        read_template("missing.yaml")
