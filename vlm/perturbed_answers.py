"""Answers of a model under perturbations, as candidates of an attack."""

from collections.abc import Sequence

from mmunlearn.attacks.base import Metered
from mmunlearn.attacks.base_goals import Answer
from mmunlearn.data import Example
from mmunlearn.handle import Decoding

from .learning import Learnt
from .perturbations import Inside
from .response_rows import asked


def answers(
    meter: Metered, kind: Inside, goals: Sequence[Example], learnt: Sequence[Sequence[Learnt]], how: Decoding
) -> list[list[Answer]]:
    """What each goal's question is answered under each of its perturbations; later ones promise more."""
    found: list[list[Answer]] = [[] for _ in goals]
    groups: dict[int, list[tuple[int, Learnt]]] = {}
    for index, own in enumerate(learnt):
        for one in own:
            groups.setdefault(id(one.value), []).append((index, one))
    for group in groups.values():  # goals of one fold share a perturbation and are asked in one batch
        chosen = [goals[index] for index, _ in group]
        texts = kind.said(meter, chosen, group[0][1].value, how)
        for (index, one), goal, text in zip(group, chosen, texts, strict=True):
            origin = f"step {one.step}, loss {one.loss_nats:.2f}"
            found[index].append(Answer({**asked(goal), "text": text}, origin, float(one.step)))
    return found
