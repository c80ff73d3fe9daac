"""VQA data of every format, written as its authors publish it and read; then what is broken in each."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from mmunlearn.vlm.vqa.attach import utility_plans, utility_splits
from mmunlearn.vlm.vqa.source import LETTER, WORD, UtilitySource
from PIL import Image
from pyarrow import parquet

from mmunlearn import registry
from mmunlearn.cards import EvaluationPlan
from mmunlearn.data import Role
from mmunlearn.errors import UserError
from mmunlearn.evaluate import Comparison, reduce
from mmunlearn.records import Shard
from mmunlearn.run import Run
from mmunlearn.settings import build


def png(shade=0):
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(stream, format="PNG")
    return stream.getvalue()


def put(path: Path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_mme(root):
    for stem in ("a", "b"):
        put(root / "existence" / f"{stem}.png", png())
        put(root / "existence" / f"{stem}.txt", f"Is {stem} here? Please answer yes or no.\tYes\nIs x?\tNo\n")
        put(root / "OCR" / "images" / f"{stem}.png", png())
        put(root / "OCR" / "questions_answers_YN" / f"{stem}.txt", "Is it red?\tYes\nIs it blue?\tNo\n")


def write_pope(root):
    put(root / "val2014" / "c.png", png())
    for variant, answers in (("random", ("yes", "no")), ("popular", ("no",)), ("adversarial", ("yes",))):
        rows = [{"question_id": i, "image": "c.png", "text": "A dog?", "label": a} for i, a in enumerate(answers, 1)]
        put(root / f"coco_pope_{variant}.json", lines(rows))


def write_pope_parquet(root):
    rows = [
        {"id": str(i), "question_id": str(i), "question": "A dog?", "answer": answer, "category": "popular",
         "image": {"bytes": png(i), "path": "c.png"}}
        for i, answer in enumerate(("yes", "no"))
    ]  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), root / "popular-00000-of-00001.parquet")


def write_vqav2(root):
    put(root / "val2014" / "COCO_val2014_000000000042.jpg", png())
    put(root / "v2_OpenEnded_mscoco_val2014_questions.json",
        {"questions": [{"question_id": 42000, "image_id": 42, "question": "What colour?"}]})  # fmt: skip
    answers = [{"answer": "red"}] * 2 + [{"answer": "blue"}] * 7 + [{"answer": ""}]
    put(root / "v2_mscoco_val2014_annotations.json", {"annotations": [{"question_id": 42000, "answers": answers}]})


def write_gqa(root):
    put(root / "images" / "n1.jpg", png())
    put(root / "testdev_balanced_questions.json", {"7": {"imageId": "n1", "question": "What?", "answer": "car"}})


def write_textvqa(root):
    put(root / "train_images" / "t1.jpg", png())
    row = {"question_id": 3, "image_id": "t1", "question": "What word?", "answers": ["stop"] * 9 + ["go"]}
    put(root / "TextVQA_0.5.1_val.json", {"data": [row]})


def write_vizwiz(root):
    put(root / "val" / "V1.jpg", png())
    put(root / "val.json", [{"image": "V1.jpg", "question": "What?", "answers": [{"answer": "unanswerable"}] * 10}])


def write_scienceqa(root):
    put(root / "images" / "test" / "5" / "image.png", png())
    base = {"question": "Which?", "choices": ["one", "two"], "answer": 1, "hint": "Look.", "split": "test"}
    put(root / "problems.json", {
        "5": base | {"image": "image.png"}, "6": base | {"image": None},
        "7": base | {"split": "train", "image": "i.png"},
    })  # fmt: skip


def write_scienceqa_parquet(root):
    rows = [
        {"question": "Which?", "choices": ["one", "two"], "answer": 1, "hint": "Look.", "image": image}
        for image in ({"bytes": png(), "path": "a"}, None)
    ]
    root.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), root / "test-00000.parquet")


def write_mmbench(root):
    image = base64.b64encode(png()).decode()
    head = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tsplit\n"
    put(root / "mmbench_dev.tsv", head + f"241\tWhich?\tnan\tone\ttwo\tthree\t\tB\tc\t{image}\tdev\n"
        "242\tAnd?\tLook.\tone\ttwo\t\t\tA\tc\t241\tdev\n")  # fmt: skip


def write_plain(root):
    put(root / "images" / "a.png", png())
    put(root / "data.csv", "image,question,answer\na.png,What?,a cat\n")


WRITERS: dict[str, tuple[str, Callable, int]] = {
    "mme": ("mme", write_mme, 8), "pope": ("pope", write_pope, 4), "pope_parquet": ("pope", write_pope_parquet, 2),
    "vqav2": ("vqav2", write_vqav2, 1), "gqa": ("gqa", write_gqa, 1), "textvqa": ("textvqa", write_textvqa, 1),
    "vizwiz": ("vizwiz", write_vizwiz, 1), "scienceqa": ("scienceqa", write_scienceqa, 1),
    "scienceqa_parquet": ("scienceqa", write_scienceqa_parquet, 1), "mmbench": ("mmbench", write_mmbench, 2),
    "plain": ("plain", write_plain, 1),
}  # fmt: skip


def source(root, kind, **more):
    return build(UtilitySource, {"format": kind, "root": str(root)} | more, "utility")


def split(root, kind, **more):
    (found,) = utility_splits([source(root, kind, **more)]).values()
    return found


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_read(name, tmp_path):
    kind, write, count = WRITERS[name]
    write(tmp_path)
    found = split(tmp_path, kind)
    assert (count, Role.UTILITY, f"utility_{kind}") == (len(found), found.role, found.name)
    assert count == len(set(found.ids)) and found.ids == split(tmp_path, kind).ids
    for example in found:
        assert (4, 4) == example.image.open().size
        assert example.prompt and isinstance(example.target, str) and example.id.startswith(f"utility/{kind}/")


def by_hand(example):
    return example.prompt, example.target, dict(example.tags)


def test_what_the_examples_hold(tmp_path):
    for name, (_, write, _) in WRITERS.items():
        write(tmp_path / name)
    first = split(tmp_path / "mme", "mme")[0]
    assert ("Is it red?", "yes", {"category": "OCR", "group": "OCR/a"}) == by_hand(first)
    assert (f"A dog?\n{WORD}", "no", {"category": "popular"}) == by_hand(split(tmp_path / "pope", "pope")[1])
    vqa = split(tmp_path / "vqav2", "vqav2")[0]
    assert "blue" == vqa.target and 10 == len(vqa.tags["answers"].split("\n"))
    science = split(tmp_path / "scienceqa", "scienceqa")[0]
    assert (f"Look.\nWhich?\nA. one\nB. two\n{LETTER}", "B", {"options": "one\ntwo"}) == by_hand(science)
    one, two = split(tmp_path / "mmbench", "mmbench")
    assert (f"Which?\nA. one\nB. two\nC. three\n{LETTER}", "B") == by_hand(one)[:2]
    assert two.prompt.startswith("Look.\nAnd?") and one.image.digest == two.image.digest
    assert ("What?", "a cat", {}) == by_hand(split(tmp_path / "plain", "plain")[0])


def test_parts_limits_suffixes_and_names(tmp_path):
    write_pope(tmp_path)
    assert 1 == len(split(tmp_path, "pope", split="adversarial"))
    found = split(tmp_path, "pope", limit=3, suffix="", name="dogs")
    assert (3, "utility_dogs", "A dog?") == (len(found), found.name, found[0].prompt)
    assert found[0].id.startswith("utility/dogs/")


RIGHT = {"mme": "Yes", "pope": "yes", "vqav2": "Blue.", "gqa": "a car", "textvqa": "stop", "vizwiz": "unanswerable",
         "scienceqa": "B", "mmbench": "B", "plain": "cat"}  # fmt: skip


def test_cells_of_every_format(tmp_path):
    """A model that gives one answer to everything: the cells are what counting by hand gives."""
    kinds = sorted(RIGHT)
    for kind in kinds:
        WRITERS[kind][1](tmp_path / kind)
    sources = [source(tmp_path / kind, kind) for kind in kinds]
    splits = utility_splits(sources)
    run = Run.scratch(tmp_path / "run")
    for kind in kinds:
        rows = [
            {"id": e.id, "text": RIGHT[kind], **{f"tag.{k}": v for k, v in e.tags.items()}}
            for e in splits[f"utility_{kind}"]
        ]
        Shard(run.path / "responses" / f"utility_{kind}").append(rows)
    cells = reduce(run, utility_plans(sources), splits, "vlm", Comparison())
    expected = dict.fromkeys(kinds, 1.0) | {"mme": 0.5, "pope": 0.5, "mmbench": 0.5}
    for kind, value in expected.items():
        assert value == pytest.approx(cells[f"utility/{kind}_accuracy"].value), kind
    assert 0 == cells["utility/mme_accuracy_plus"].value  # one of two questions right everywhere
    # POPE's four questions are answered yes: two hits, two misses. F1 = 2*2/(2*2 + 2).
    assert cells["utility/pope_f1"].value == pytest.approx(2 / 3)
    assert cells["utility/mean"].value == pytest.approx(sum(expected.values()) / len(kinds))
    assert len(kinds) + 3 == len(cells)


def test_the_judges_that_plans_name_exist(tmp_path):
    for kind in RIGHT:
        (plan,) = utility_plans([source(tmp_path, kind)])
        assert isinstance(plan, EvaluationPlan)
        assert registry.load("judges", plan.judge_name, "vlm")()


def spoil(write, name, content):
    def build_bad(root):
        write(root)
        path = root / name
        if content is None:
            path.unlink()
        else:
            put(path, content)

    return build_bad


QUESTIONS, ANNOTATIONS = "v2_OpenEnded_mscoco_val2014_questions.json", "v2_mscoco_val2014_annotations.json"
TSV = "index\tquestion\tA\tB\tanswer\timage\n"
GOOD = base64.b64encode(png()).decode()
BROKEN = [
    ("mme", spoil(write_mme, "existence/a.txt", "one question\tYes\n"), "1 questions, MME has two"),
    ("mme", spoil(write_mme, "existence/a.txt", "q\tYes\nq\tMaybe\n"), "line 2: expected a question"),
    ("mme", spoil(write_mme, "existence/a.png", None), "no picture a"),
    ("mme", lambda root: root.mkdir(exist_ok=True), "holds no folder of an MME category"),
    ("mme", lambda root: put(root / "x" / "y.png", png()), "holds no text file"),
    ("mme", lambda root: put(root / "x" / "questions_answers_YN" / "y.txt", "q\tYes\nr\tNo"), "pictures of x"),
    ("pope", spoil(write_pope, "coco_pope_random.json", "{"), "line 1: not JSON"),
    (
        "pope",
        spoil(write_pope, "coco_pope_random.json", lines([{"image": "c.png", "text": "q", "label": "1"}])),
        "yes or no",
    ),
    (
        "pope",
        spoil(write_pope, "coco_pope_random.json", lines([{"image": "c.png", "text": "", "label": "no"}])),
        "question is empty",
    ),
    (
        "pope",
        spoil(write_pope, "coco_pope_random.json", lines([{"image": "c.png", "label": "no"}])),
        "no column question or text",
    ),
    ("pope", spoil(write_pope, "val2014/c.png", None), "picture c.png is not in"),
    (
        "pope",
        spoil(write_pope, "coco_pope_random.json", lines([{"image": "../c.png", "text": "q", "label": "no"}])),
        "not a path below",
    ),
    (
        "pope",
        spoil(
            write_pope,
            "coco_pope_random.json",
            lines([{"question_id": 1, "image": "c.png", "text": "q", "label": "no"}] * 2),
        ),
        "stands there twice",
    ),
    ("pope", lambda root: root.mkdir(exist_ok=True), "holds no POPE file"),
    ("vqav2", spoil(write_vqav2, ANNOTATIONS, None), "no such file; the answers"),
    ("vqav2", spoil(write_vqav2, ANNOTATIONS, {"annotations": []}), "annotations is empty"),
    (
        "vqav2",
        spoil(write_vqav2, ANNOTATIONS, {"annotations": [{"question_id": 1, "answers": [{"answer": "x"}]}]}),
        "has no annotation",
    ),
    (
        "vqav2",
        spoil(write_vqav2, ANNOTATIONS, {"annotations": [{"question_id": 42000, "answers": []}]}),
        "not a list of answers",
    ),
    ("vqav2", spoil(write_vqav2, QUESTIONS, {"questions": {}}), "questions is no list"),
    (
        "vqav2",
        spoil(write_vqav2, QUESTIONS, {"questions": [{"question_id": 42000, "question": "q"}]}),
        "no field image_id",
    ),
    (
        "vqav2",
        spoil(write_vqav2, QUESTIONS, {"questions": [{"question_id": 42000, "image_id": "x", "question": "q"}]}),
        "not a number",
    ),
    ("gqa", spoil(write_gqa, "testdev_balanced_questions.json", []), "holds a list"),
    (
        "gqa",
        spoil(write_gqa, "testdev_balanced_questions.json", {"7": {"imageId": "n1", "question": "q"}}),
        "no field answer",
    ),
    ("gqa", spoil(write_gqa, "testdev_balanced_questions.json", {"7": 3}), "is a int"),
    ("textvqa", spoil(write_textvqa, "TextVQA_0.5.1_val.json", "[1, 2"), "not JSON"),
    ("vizwiz", spoil(write_vizwiz, "val.json", {}), "holds no list"),
    (
        "scienceqa",
        spoil(write_scienceqa, "problems.json", {"1": {"split": "test", "image": "i.png"}}),
        "picture test/1/i.png is not in",
    ),
    (
        "scienceqa",
        spoil(
            write_scienceqa,
            "problems.json",
            {"5": {"question": "q", "choices": ["a", "b"], "answer": 2, "split": "test", "image": "image.png"}},
        ),
        "not a place in 2",
    ),
    (
        "scienceqa",
        spoil(
            write_scienceqa,
            "problems.json",
            {"5": {"question": "q", "choices": "ab", "answer": 0, "split": "test", "image": "image.png"}},
        ),
        "not a list of 2",
    ),
    ("scienceqa", lambda root: root.mkdir(exist_ok=True), "neither problems.json nor"),
    ("mmbench", lambda root: put(root / "a.tsv", "index\tquestion\n"), "no column A"),
    ("mmbench", lambda root: put(root / "a.tsv", TSV), "has a header and no rows"),
    ("mmbench", lambda root: put(root / "a.tsv", TSV + f"1\tq\ta\tb\tC\t{GOOD}\n"), "not the letter of one of 2"),
    ("mmbench", lambda root: put(root / "a.tsv", TSV + "1\tq\ta\tb\tA\t????\n"), "not base64"),
    ("mmbench", lambda root: put(root / "a.tsv", TSV + "1\tq\ta\n"), "not a readable tab-separated"),
    ("plain", lambda root: put(root / "a.csv", "image,question\na,b\n"), "no column answer"),
    ("plain", spoil(write_plain, "data.csv", "image,question,answer\na.png,What?,\n"), "answer is empty"),
    ("plain", spoil(write_plain, "more.csv", "image,question,answer\na.png,What?,x\n"), "2 files could be"),
    ("plain", lambda root: root.mkdir(exist_ok=True), "holds no table"),
]


@pytest.mark.parametrize(("kind", "write", "said"), BROKEN, ids=[f"{kind}: {said}" for kind, _, said in BROKEN])
def test_broken_files_are_named(kind, write, said, tmp_path):
    write(tmp_path / "data")
    with pytest.raises(UserError) as caught:
        split(tmp_path / "data", kind)
    message = str(caught.value)
    assert said in message and 1 <= len(message.splitlines()) <= 4
    assert str(tmp_path) in message or kind in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "pop"}, "format"), ({"root": ""}, "names no folder"), ({"rot": "x"}, "Did you mean root"),
        ({"limit": -1}, "limit"), ({"name": "My Set"}, "name"),
    ],
)  # fmt: skip
def test_mistakes_in_settings(change, said, tmp_path):
    with pytest.raises(UserError, match=said):
        build(UtilitySource, {"format": "pope", "root": str(tmp_path)} | change, "utility")


def test_two_sources_need_two_names(tmp_path):
    with pytest.raises(UserError, match="two sources are called 'pope'"):
        utility_plans([source(tmp_path, "pope"), source(tmp_path, "pope")])
    assert 3 == len(utility_plans([source(tmp_path, "pope"), source(tmp_path, "pope", name="other")]))


def test_a_root_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no such folder or file"):
        split(tmp_path / "missing", "mme")


@pytest.mark.parametrize("name", ["fiubench", "mmubench", "safeeraser"])
def test_every_vlm_benchmark_takes_them(name, tmp_path):
    write_pope(tmp_path)
    benchmark = registry.load("benchmarks", name, "vlm")
    plain = benchmark()
    given = benchmark({"utility": [{"format": "pope", "root": str(tmp_path), "limit": 2}]})
    table = plain.card.table
    assert {} == plain.more_splits() and plain.card.plans(table) == plain.plans(table)
    assert ["utility_pope"] == list(given.more_splits()) and 2 == len(given.more_splits()["utility_pope"])
    assert "utility_pope" == given.plans(table)[-1].split
    with pytest.raises(UserError, match=r"utility\.0\.format"):
        benchmark({"utility": [{"format": "pop", "root": "x"}]})
