"""MedForget: a tree of institutions, patients, studies and sections; a node is forgotten with all that is below."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

# The builder's parts are imported as modules so that the mini edition's cache key covers their source.
from mmunlearn.avatars import jpeg  # noqa: F401
from mmunlearn.benchmark import Benchmark
from mmunlearn.cards import Edition
from mmunlearn.data import Example, Role, Split
from mmunlearn.errors import UserError, near_miss
from mmunlearn.settings import Settings

from .. import hierarchy
from ..answer_words import answer_words
from ..hierarchy import LEVELS, Node, below_any, contexts, revealed
from ..hospital import items, medforget_writer, radiograph, records  # noqa: F401
from ..refusals import REFUSALS
from ._medforget_files import Question, level_file, read_questions
from ._tiny import TINY

OPTION = r"\b([A-D])\)\s*"


class Medforget(Benchmark):
    """Splits forget (the node's subtree) and retain (all the rest), train (both), siblings (retained questions below
    the parents of what is forgotten), test (the other retained ones, or siblings where there are none), context
    (forgotten questions of section level, sentences and blanks, with none to three nodes above revealed), unseen,
    refusal. Source: fengli-wu/MedForget at df0e78c.

    Tags: node (path), level, task, context, keywords by rule (answer_words), options of multiple choice. unseen:
    `unseen_set_all.parquet` of the mini edition; real data has none, so forget questions with another one's answer.
    """

    class Config(Settings):
        """level: whose files are read. node: path of the node to be forgotten ("" = as the files divide); its level is
        its depth, and every question of both files counts. filter: of the files' names."""

        name: str = "medforget"
        level: Literal["institution", "patient", "study", "section"] = "study"
        node: str = ""
        filter: str = "all"

    variants = {level: {"level": level} for level in LEVELS}
    tiny = {
        "institutions": 2, "patients": 2, "studies": 1, "unseen": 1, "forget_institution": 1, "forget_patient": 1,
        "forget_study": 1, "forget_section": 2, "size_px": 32,
    }  # fmt: skip
    tiny_model = {"architecture": TINY, "pretrained_tower": False}

    def splits(self, root: Path, edition: Edition) -> Mapping[str, Split]:
        """Examples in file order; ids are "medforget/<ID>/<number>"."""
        level, what = self.config.level, self.card.source.what
        parts = {
            part: read_questions(level_file(root, level, part, self.config.filter, what))
            for part in ("forget", "retain")
        }
        both = sorted({q.key for q in parts["forget"]} & {q.key for q in parts["retain"]})
        if both:
            raise UserError(f"{root}: question {both[0]} is in the forget and in the retain file of {level}_level.")
        if self.config.node:
            parts = _divided([*parts["forget"], *parts["retain"]], self.config.node, root)
        examples = {part: list(_examples(found)) for part, found in parts.items()}
        targets = targets_of([q.node for q in parts["forget"]])
        beside = [e for e in examples["retain"] if _beside(hierarchy.node_of(e.tags), targets)]
        far = [e for e in examples["retain"] if not _beside(hierarchy.node_of(e.tags), targets)]
        examples |= {
            "train": [*examples["forget"], *examples["retain"]],
            "siblings": beside or far,
            "test": far or beside,
            "context": list(_in_context(examples["forget"])),
            "unseen": list(self._unseen(root, examples["forget"])),
            "refusal": [Example(id=f"medforget/refusal/{i:03d}", target=text) for i, text in enumerate(REFUSALS)],
        }
        return {name: Split(name, _role(name), tuple(found)) for name, found in examples.items()}

    def _unseen(self, root: Path, forget: Sequence[Example]) -> Iterator[Example]:
        path = root / medforget_writer.UNSEEN
        if path.is_file():
            yield from _examples(read_questions(path))
            return
        by_kind: dict[tuple[str, str], list[Example]] = {}
        for example in forget:
            by_kind.setdefault((example.tags["level"], example.tags["task"]), []).append(example)
        for group in by_kind.values():
            for example, other in zip(group, [*group[1:], group[0]], strict=True):
                tags = {**example.tags, "keywords": ""}
                yield replace(example, id=f"{example.id}/untrue", target=other.target, tags=tags)

    def build_mini(self, root: Path, seed: int, sizes: Mapping[str, Any] | None = None) -> None:
        """An invented hospital world in the real layout, in the sizes of the card with `sizes` laid over them."""
        medforget_writer.write_medforget(root, self.mini_sizes(medforget_writer.MedforgetSizes, sizes), seed)

    def model(self, edition: Edition) -> dict[str, Any]:
        """The card's model; the task decides nothing about it."""
        return dict(self.card.editions[edition].model)


def targets_of(nodes: Iterable[Node]) -> list[Node]:
    """The forgotten nodes that lie below no other one."""
    known = sorted(set(nodes), key=lambda node: (len(node), node))
    return [node for at, node in enumerate(known) if not below_any(node, known[:at])]


def _divided(questions: Sequence[Question], named: str, root: Path) -> dict[str, list[Question]]:
    """forget: the subtree of the node; retain: all the rest."""
    node = tuple(part for part in named.split("/") if part)
    ordered = sorted(questions, key=lambda q: q.key)
    known = {"/".join(q.node[:depth]) for q in questions for depth in range(1, len(q.node) + 1)}
    if "/".join(node) not in known:
        raise UserError(f"benchmark.node: {root} has no node {named!r}. {near_miss(named, sorted(known))}")
    parts = {
        "forget": [q for q in ordered if below_any(q.node, [node])],
        "retain": [q for q in ordered if not below_any(q.node, [node])],
    }
    if not parts["retain"]:
        raise UserError(f"benchmark.node: nothing is left to retain without {named!r}. Name a smaller node.")
    return parts


def _examples(questions: Iterable[Question]) -> Iterator[Example]:
    for one in questions:
        tags = {
            "node": "/".join(one.node),
            "level": one.level,
            "task": one.task,
            "context": "\n".join(contexts(one.node)),
            "keywords": "\n".join(answer_words(one.question, one.answer)),
        }
        if one.task == "classification":
            tags["options"] = "\n".join(options(one.question))
        yield Example(id=f"medforget/{one.key}", image=one.image, prompt=one.question, target=one.answer, tags=tags)


def options(question: str) -> list[str]:
    """The options "A) …" of a question, in order."""
    import re

    pieces = re.split(OPTION, question)
    return [" ".join(text.split()) for text in pieces[2::2]]


def _beside(node: Node, targets: Sequence[Node]) -> bool:
    """Whether a node lies below the parent of a target, at least as deep as the target."""
    return any(len(node) >= len(target) and node[: len(target) - 1] == target[:-1] for target in targets)


def _in_context(forget: Iterable[Example]) -> Iterator[Example]:
    """Sentences and blanks of section level (of the deepest level there is, where the forget set has no sections)."""
    asked = [e for e in forget if e.tags["task"] != "classification" and e.tags["level"] == "section"]
    plain = [e for e in asked if not any(line in (e.prompt or "") for line in e.tags["context"].split("\n"))]
    for example in plain:
        for steps in range(len(contexts(hierarchy.node_of(example.tags))) + 1):
            shown = revealed(example, steps)
            yield replace(shown, id=f"{example.id}/context{steps}", tags={**example.tags, "revealed": str(steps)})


def _role(name: str) -> Role:
    roles = {
        "forget": Role.FORGET, "context": Role.FORGET, "retain": Role.RETAIN, "siblings": Role.RETAIN,
        "train": Role.TRAIN, "unseen": Role.UNSEEN,
    }  # fmt: skip
    return roles.get(name, Role.UTILITY)
