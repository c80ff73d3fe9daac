"""A small model learns questions about pictures, and judges the same in process and behind a server that fails."""

import json
import shutil

import pytest
import torch
from mmunlearn.vlm.question_model import Question, Recipe, facts_asked, mean_of_answers, read_questions, write_model

from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.judges.base import Item
from mmunlearn.judges.model_judge import ModelJudge
from mmunlearn.testing.picture_world import NUMBERS, OBJECTS, STYLES, picture_path

TEMPLATE = """
what: the style
from: ours
version: 1
shows: response
listed: true
value_tag: style
prompt: "Which of {classes}?"
max_new_tokens: 12
"""
PAIR = """
what: two pictures
from: ours
version: 1
shows: pair
labels: {same: 1, other: 0}
prompt: "Same?"
max_new_tokens: 8
"""
RECIPE = Recipe(size_px=24, patch_px=6, width=32, warm_up=60, lead=20, steps=160, batch_size=12, rate=4e-3)
CELLS = [(s, o, n) for s in STYLES for o in OBJECTS for n in range(1, NUMBERS + 1)]


def rows():
    for style, thing, number in CELLS:
        name = f"{style}-{thing}-{number}.jpg"
        part = "test" if number == NUMBERS else "train"
        yield {"images": [name], "prompt": f"Which of {', '.join(STYLES)}?", "answer": style, "part": part,
               "kind": "label", "facts": {"style": style}}  # fmt: skip
        other = f"{STYLES[0]}-{thing}-{1 if number < NUMBERS else NUMBERS}.jpg"
        yield {"images": [other, name], "prompt": "Same?", "answer": "same" if style == STYLES[0] else "other",
               "part": part, "kind": "pair"}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("questions")
    for style, thing, number in CELLS:
        shutil.copy(picture_path(style, thing, number), folder / f"{style}-{thing}-{number}.jpg")
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    (folder / "style.yaml").write_text(TEMPLATE)
    (folder / "pair.yaml").write_text(PAIR)
    return folder


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "judge"
    report = write_model(folder, read_questions(table / "questions.jsonl"), RECIPE)
    return folder, report


def judge(table, backend, name="style.yaml"):
    return ModelJudge({"template": str(table / name), "backend": backend} | ({"classes": STYLES} if name == "style.yaml"
                                                                              else {}))  # fmt: skip


def items(table):
    return [
        Item(Example(id=f"{s}/{o}", prompt="p", tags={"style": s}),
             {"image": str(table / f"{s}-{o}-{NUMBERS}.jpg"), "original_image": str(table / f"Dots-{o}-{NUMBERS}.jpg")})
        for s in STYLES for o in OBJECTS
    ]  # fmt: skip


def test_held_out_questions_are_answered_and_the_folder_is_plain(trained):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder, report = trained
    assert report["held_out"]["label"]["accuracy"] > 0.6, report
    assert 9 == report["held_out"]["label"]["n"] == report["held_out"]["pair"]["n"]
    AutoModelForImageTextToText.from_pretrained(folder)
    assert AutoProcessor.from_pretrained(folder).chat_template


def test_the_report_is_what_the_judge_then_says(table, trained):
    folder, report = trained
    graded = judge(table, {"kind": "chat", "model": str(folder), "device": "cpu"}).grade(items(table))
    assert report["held_out"]["label"]["accuracy"] == pytest.approx(sum(v.value == 1 for v in graded) / len(graded))


@pytest.mark.parametrize("name", ["style.yaml", "pair.yaml"])
def test_verdicts_are_equal_in_process_and_behind_a_failing_server(table, trained, name):
    pytest.importorskip("openai")
    from mmunlearn.testing.chat_server import running
    from mmunlearn.testing.served_model import replier

    folder = str(trained[0])
    asked = items(table)
    inside = judge(table, {"kind": "chat", "model": folder, "device": "cpu"}, name).grade(asked)
    with running() as server:
        server.reply = replier(folder)

        class Stormy(dict):
            """The first 30 attempts of each question fail, one way after the other, whoever asks it."""

            def get(self, text, default=None):
                return ([429, 500, "garbage", "half", "drop"] * 6, None)

        server.script = Stormy()
        backend = {"kind": "server", "base_url": server.url, "model": "m", "retries": 40, "backoff_s": 0.001,
                   "backoff_max_s": 0.002, "parallel": 3}  # fmt: skip
        outside = judge(table, backend, name).grade(asked)
    assert [(v.value, v.label, v.raw) for v in inside] == [(v.value, v.label, v.raw) for v in outside]
    assert len(asked) == len(outside) and all(v.scored for v in outside)


def test_a_server_that_never_answers_makes_rows_unscored_and_none_safe(table):
    pytest.importorskip("openai")
    from mmunlearn.testing.chat_server import running

    for fault in (429, 500, "garbage", "half", "drop", "shape"):
        with running() as server:

            class Failing(dict):
                def get(self, text, default=None, fault=fault):
                    return ([fault] * 99, None)

            server.script = Failing()
            backend = {"kind": "server", "base_url": server.url, "model": "m", "retries": 1, "backoff_s": 0.001}
            graded = judge(table, backend).grade(items(table))
        assert 9 == len(graded) and not any(v.scored or v.label for v in graded) and all(v.again for v in graded)


def test_pictures_that_cannot_be_read_are_not_sent(table):
    pytest.importorskip("openai")
    from mmunlearn.testing.chat_server import running

    with running() as server:
        server.answer = lambda text: "Dots"
        grader = judge(table, {"kind": "server", "base_url": server.url, "model": "m"})
        (table / "broken.jpg").write_bytes(b"no picture")
        example = Example(id="x", prompt="p", tags={"style": "Dots"})
        bad = [Item(example, {"image": str(table / n)}) for n in ("broken.jpg", "missing.jpg")] + [Item(example, {})]
        verdicts = grader.grade(bad)
        assert [False] * 3 == [v.scored for v in verdicts] and not server.requests
        assert [False, True, False] == [v.again for v in verdicts]


def test_facts_are_asked_of_each_picture_alone_and_among_several(tmp_path):
    one, two = tmp_path / "1.jpg", tmp_path / "2.jpg"
    facts = {one: {"thing": "mug"}, two: {"thing": "car"}}
    known = [Question((path,), "p", "a", "train", "label", facts[path]) for path in (one, two)]
    asked = facts_asked([*known, Question((two, one), "p", "0", "train", "pair", {})])
    told = {(q.images, q.prompt): q.answer for q in asked}
    first, second = (f"What is the thing in picture {n}?" for n in (1, 2))
    assert told == {((one,), first): "mug", ((two,), first): "car",
                    ((two, one), first): "car", ((two, one), second): "mug"}  # fmt: skip


def test_answers_weigh_alike_however_long_they_are():
    torch.manual_seed(0)
    hidden, head = torch.randn(2, 4, 3), torch.nn.Linear(3, 5)
    labels = torch.tensor([[-100, 1, -100, -100], [-100, 2, 0, 4]])
    losses = -head(hidden).log_softmax(-1)
    slow = (losses[0, 1, 1] + (losses[1, 1, 2] + losses[1, 2, 0] + losses[1, 3, 4]) / 3) / 2
    assert slow.item() == pytest.approx(mean_of_answers(head, hidden, labels).item(), abs=1e-6)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"images": [], "prompt": "p", "answer": "a"}, "not a list of paths"),
        ({"images": ["no.jpg"], "prompt": "p", "answer": "a"}, "there is no picture"),
        ({"images": ["Dots-Disc-1.jpg"], "prompt": "", "answer": "a"}, "prompt is ''"),
        ({"images": ["Dots-Disc-1.jpg"], "prompt": "p"}, "answer"),
        ({"images": ["Dots-Disc-1.jpg"], "prompt": "p", "answer": "a", "part": "test"}, "no row has part train"),
    ],
)
def test_broken_tables_name_line_and_column(table, row, said):
    (table / "broken.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=said):
        read_questions(table / "broken.jsonl")
