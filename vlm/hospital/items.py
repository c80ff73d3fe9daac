"""Questions about one study at the four levels, three tasks each: a sentence, an option, a blank."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..hierarchy import LEVELS, SECTIONS, contexts
from .records import (
    CODES,
    EXAMINATIONS,
    FINDINGS,
    IMPRESSIONS,
    INDICATIONS,
    INSTITUTIONS,
    SIZES,
    SURNAMES,
    ZONES,
    Study,
)

LETTERS = "ABCD"
SECTION_QUESTIONS = {
    "EXAMINATION": ("Which examination was done?", "The examination was a {}.", "The examination was a [blank]."),
    "INDICATION": ("What was the indication?", "The indication was {}.", "The indication was [blank]."),
    "FINDINGS": ("What are the findings?", "There is a {}.", "The findings show a [blank]."),
    "IMPRESSION": ("What is the impression?", "The impression is {}.", "The impression is [blank]."),
}
UPPER = {
    "institution": ("At which institution was this taken?", "It was taken at {}.", "The institution is [blank]."),
    "patient": ("Who is the patient?", "The patient is {}.", "The name of the patient is [blank]."),
    "study": ("Which imaging study is this?", "It is study {}.", "The imaging study is called [blank]."),
}


def rows(study: Study, others: Sequence[Study], rng: np.random.Generator) -> list[dict[str, Any]]:
    """What the files hold about a study: a row a level above the sections and one a section, each with its questions
    as {"Question", "Answer"}. others: studies whose facts give the wrong options."""
    said = {"institution": study.institution.title(), "patient": study.surname, "study": study.code}
    found = []
    for level, (question, answer, blank) in UPPER.items():
        values = _wrong(level, said[level], others, rng)
        found.append(_row(study, level, "", _tasks((question, answer, blank), said[level], values, rng)))
    for section in SECTIONS:
        text = study.sections[section]
        tasks = _tasks(SECTION_QUESTIONS[section], text, _wrong(section, text, others, rng), rng)
        # The same question behind what stands above it: a model that never saw context could not be asked with it.
        known = contexts((*study.path, section))
        steps = int(rng.integers(1, len(known) + 1))
        question, answer, _ = SECTION_QUESTIONS[section]
        tasks.append({"Question": " ".join((*known[:steps], question)), "Answer": answer.format(text)})
        found.append(_row(study, "section", section, tasks))
    return found


def _tasks(
    wording: tuple[str, str, str], value: str, wrong: Sequence[str], rng: np.random.Generator
) -> list[dict[str, Any]]:
    question, answer, blank = wording
    right = int(rng.integers(len(LETTERS)))
    options = [*wrong[:right], value, *wrong[right:]]
    listed = " ".join(f"{letter}) {text}" for letter, text in zip(LETTERS, options, strict=True))
    return [
        {"Question": question, "Answer": answer.format(value)},
        {"Question": f"{question} {listed}", "Answer": value},
        {"Question": blank, "Answer": value},
    ]


def _wrong(kind: str, value: str, others: Sequence[Study], rng: np.random.Generator) -> list[str]:
    """Three other values of the same kind."""
    fixed = {
        "institution": INSTITUTIONS, "patient": SURNAMES, "EXAMINATION": EXAMINATIONS, "INDICATION": INDICATIONS,
        "IMPRESSION": IMPRESSIONS, "study": CODES,
        "FINDINGS": tuple(f"{s} {z} {f}" for s in SIZES for f in FINDINGS for z in ZONES),
    }  # fmt: skip
    pool = [one for one in fixed[kind] if one.casefold() != value.casefold()]
    return [pool[int(i)] for i in rng.permutation(len(pool))[:3]]


def _row(study: Study, level: str, section: str, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    depth = LEVELS.index(level)
    return {
        "ID": "_".join((*study.path, section or level)),
        "image_path": "/".join((*study.path, "frontal.jpg")),
        "hierarchy": {
            "institution_id": study.institution, "patient_id": study.patient, "study_id": study.study,
            "section_name": section, "hierarchy_level": level,
        },
        "metadata": tasks,
        "path": (*study.path, section)[: depth + 1],
    }  # fmt: skip
