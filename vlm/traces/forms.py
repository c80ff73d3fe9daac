"""Form independence: the same fact asked as a question, a cloze, a multiple choice and a true-or-false statement.

An unlearned model that is only silent on the form it was trained with still scores on the others. Source: the task
forms of ORT (arXiv 2506.07795, ORT repository at 38cc704; vlm_unlok_offside_med 4.7), which scores
exp(mean log-probability of the answer's tokens) and reports the change against the original model. The wording is ours,
and so are the false statements, with which "yes to everything" scores a half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mmunlearn.data import Example
from mmunlearn.handle import Decoding, Handle
from mmunlearn.metrics.base import NOTHING, Value
from mmunlearn.seeds import generator

LETTERS = "ABCDEFGH"
FORMS = ("question", "cloze", "choice", "statement")


class FormScore(NamedTuple):
    """likelihood: mean of exp(mean token log-probability) of the right answer. accuracy: share of facts whose right
    answer is the likeliest of its alternatives (chance: 1 of them); where an example has no choices nothing counts."""

    likelihood: Value
    accuracy: Value
    chance: float


def question(fact: Example) -> Example:
    """The fact as the benchmark asks it; alternatives are its false answers."""
    return replace(fact, choices=_alternatives(fact))


def cloze(fact: Example) -> Example:
    """The fact as a sentence to complete."""
    return replace(fact, prompt=f"{fact.prompt} Complete the sentence. Answer: ____", choices=_alternatives(fact))


def choice(fact: Example, seed: int = 0) -> Example:
    """The fact as a multiple choice; where the right letter stands depends on (seed, id) alone."""
    answers = _alternatives(fact)
    order = generator(seed, "forms", fact.id).permutation(len(answers))
    lines = [f"{letter}: {answers[i]}" for letter, i in zip(LETTERS, order, strict=False)]
    right = LETTERS[int(np.flatnonzero(order == 0)[0])]
    others = [letter for letter, _ in zip(LETTERS, order, strict=False) if letter != right]
    prompt = "\n".join([str(fact.prompt), *lines, "Answer with the letter."])
    return replace(fact, prompt=prompt, target=right, choices=(right, *others))


def statement(fact: Example) -> tuple[Example, Example]:
    """The fact and its first false answer as statements to judge: (true, "Yes"), (false, "No")."""
    true, false, *_ = _alternatives(fact)

    def ask(answer: str, target: str, other: str) -> Example:
        prompt = f'{fact.prompt} "{answer}" Is this answer true? Yes or no.'
        return replace(fact, prompt=prompt, target=target, choices=(target, other))

    return ask(true, "Yes", "No"), ask(false, "No", "Yes")


def forms_of(fact: Example, seed: int = 0) -> dict[str, tuple[Example, ...]]:
    """The fact in every form that it can take, each item with an id of its own; a fact without false answers can only
    be asked."""
    if len(_alternatives(fact)) < 2:
        return {"question": (_numbered(question(fact), "question", 0),)}
    made = {
        "question": (question(fact),), "cloze": (cloze(fact),), "choice": (choice(fact, seed),),
        "statement": statement(fact),
    }  # fmt: skip
    return {form: tuple(_numbered(e, form, i) for i, e in enumerate(items)) for form, items in made.items()}


def without_paraphrases(facts: Sequence[Example], right: int) -> list[Example]:
    """The facts without their first `right` choices, which are other wordings of the right answer (FIUBench, CLEAR)."""
    return [replace(fact, choices=fact.choices[right:]) for fact in facts]


def score_forms(
    handle: Handle, facts: Sequence[Example], *, batch_size: int = 32, seed: int = 0
) -> dict[str, FormScore]:
    """Likelihood and accuracy of each form over `facts`; a statement's two items count a half each."""
    items = [(form, e) for fact in facts for form, own in forms_of(fact, seed).items() for e in own]
    how = Decoding(batch_size=batch_size, max_new_tokens=0, fields={"generate": False})
    answers = handle.respond([e for _, e in items], how, seed)
    found: dict[str, list[tuple[float, float, int]]] = {form: [] for form in FORMS}
    for (form, example), answer in zip(items, answers, strict=True):
        found[form].append(_scored(example, answer.fields))
    return {form: _summary(rows) for form, rows in found.items() if rows}


def change(original: Mapping[str, FormScore], unlearned: Mapping[str, FormScore]) -> dict[str, float]:
    """Change of each form's likelihood against the original's (−1: gone, 0: as before); NaN where it had none."""
    return {
        form: unlearned[form].likelihood.value / before.likelihood.value - 1
        if before.likelihood.value
        else float("nan")
        for form, before in original.items()
        if form in unlearned
    }


def _alternatives(fact: Example) -> tuple[str, ...]:
    """The right answer and then the false ones, at most as many as there are letters."""
    target = str(fact.target)
    return (target, *dict.fromkeys(c for c in fact.choices if c != target))[: len(LETTERS)]


def _numbered(example: Example, form: str, number: int) -> Example:
    return replace(example, id=f"{example.id}/{form}{number}")


def _scored(example: Example, fields: Mapping) -> tuple[float, float, int]:
    """Likelihood, whether the right answer is the likeliest (NaN without alternatives), number of alternatives."""
    likelihood = float(np.exp(-fields["nll"] / fields["count"]))
    if len(example.choices) < 2:
        return likelihood, float("nan"), 1
    means = np.asarray(fields["choices_nll"]) / np.asarray(fields["choices_count"])
    best = np.flatnonzero(means == means.min())
    return likelihood, float(0 in best) / len(best), len(example.choices)


def _summary(rows: Sequence[tuple[float, float, int]]) -> FormScore:
    likelihood, hits, sizes = (np.asarray(column, dtype=float) for column in zip(*rows, strict=True))
    able = ~np.isnan(hits)
    chance = float((1 / sizes[able]).mean()) if able.any() else float("nan")
    return FormScore(_mean(likelihood), _mean(hits[able]), chance)


def _mean(values: np.ndarray) -> Value:
    if not len(values):
        return NOTHING
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return Value(float(values.mean()), len(values), error)
