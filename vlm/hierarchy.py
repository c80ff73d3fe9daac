"""Trees of what is to be forgotten: an example's place is its tag `node`, a path such as "northgate/P03/S07/FINDINGS".

Its tag `context` holds a sentence for each node above it, coarse to fine: what an attacker may reveal.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mmunlearn.data import Example

LEVELS = ("institution", "patient", "study", "section")
SECTIONS = ("EXAMINATION", "INDICATION", "FINDINGS", "IMPRESSION")
# Level of a question where the data does not say it (MedForget chip/chip.py).
ASKED = (
    ("institution", re.compile(r"\b(institution|hospital|facility)\b")),
    ("patient", re.compile(r"\b(patient|medical record)\b")),
    ("study", re.compile(r"\b(imaging study|study identifier|study id)\b")),
)

Node = tuple[str, ...]


def node_of(tags: Mapping[str, str], tag: str = "node") -> Node:
    """The path of an example's node; empty where the tag is missing."""
    return tuple(part for part in tags.get(tag, "").split("/") if part)


def level_of(question: str, told: str) -> str:
    """`told` where it is one of the four levels, else by words of the question, else section."""
    if told in LEVELS:
        return told
    return next((level for level, pattern in ASKED if pattern.search(question.lower())), "section")


def task_of(question: str) -> str:
    """cloze with a [blank], classification with options A) B) C), generation otherwise (MedForget's scripts)."""
    if "[blank]" in question:
        return "cloze"
    return "classification" if all(f"{letter})" in question for letter in "ABC") else "generation"


def inside(node: Node, target: Node) -> bool:
    """Whether a node is the target or lies below it."""
    return node[: len(target)] == target


def below_any(node: Node, targets: Iterable[Node]) -> bool:
    """Whether a node lies in the subtree of one of the targets."""
    return any(inside(node, target) for target in targets)


def contexts(node: Node) -> tuple[str, ...]:
    """A sentence for each node above, coarse to fine; none names what is asked about. Ours: the paper's wording of its
    reconstruction prompts was not found."""
    said = ("The institution is {}.", "The patient is {}.", "The study is {}.")
    return tuple(words.format(name) for words, name in zip(said, node[:-1], strict=False))


def revealed(example: Example, steps: int) -> Example:
    """The question with the first `steps` sentences of the tag `context` before it."""
    lines: Sequence[str] = [line for line in example.tags.get("context", "").split("\n") if line]
    return replace(example, prompt=" ".join((*lines[:steps], example.prompt or "")))
