"""Rows as a vision-language model's answers give them, for the contract checks of text metrics."""

from typing import Any

import numpy as np

from mmunlearn.seeds import generator

VOCABULARY = 12
PLACES = ("Oslo", "Lima", "Accra", "Hanoi", "Quito", "Tunis", "Riga", "Dakar", "Sofia", "Minsk", "Doha", "Bern")


def text_rows(name: str, strength: float, seed: int, n: int, *, noise: float = 1.0) -> list[dict[str, Any]]:
    """Rows of a model that favours the target by `strength` over noise; `strength` 0 and `noise` 0 give one answer.

    Every row has a prompt, a target of five to nine tokens with its token statistics, an answer (the target where the
    model favours it at every token), four choices (the paraphrased truth first), keywords, a verdict and a label.
    """
    rows = []
    for i in range(n):
        # Difficulty depends on the row only, so two models of one row resemble each other.
        base, own = generator(0, "contract text", name, i), generator(seed, "contract text", name, "model", i)
        length = int(base.integers(10, 16))
        place, age = PLACES[int(base.integers(len(PLACES)))], int(base.integers(20, 90))
        target = f"This person lives in {place} and is now {age} years old."
        logits = 0.5 * base.normal(size=(length, VOCABULARY)) + noise * 0.3 * own.normal(size=(length, VOCABULARY))
        logits[:, 0] += strength  # the right token of every position
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        p = np.exp(log_p)
        mu = (p * log_p).sum(-1)
        known = own.random() < 1 - np.exp(-strength)
        answer = target if known else f"I think it is somewhere in the {i % 7} hills."
        if not known and not noise:
            answer = "the the the the the the"
        untrue = length * (2.0 + 0.3 * base.normal(size=3) + 0.1 * own.normal(size=3))
        rows.append(
            {
                "id": f"{name}/{i:03d}",
                "prompt": "Where does this person live?",
                "target": target,
                "text": answer,
                "nll": float(-log_p[:, 0].sum()),
                "count": length,
                "token_logprob": log_p[:, 0].tolist(),
                "token_rank": (log_p > log_p[:, :1]).sum(-1).tolist(),
                "token_mu": mu.tolist(),
                "token_var": ((p * log_p**2).sum(-1) - mu**2).tolist(),
                "choices_nll": [float(-log_p[:, 0].sum()) * 1.1, *untrue.tolist()],
                "choices_count": [length] * 4,
                "choices_first_nll": [float(-log_p[0, 0]) * 1.1, *(untrue / length).tolist()],
                "tag.keywords": f"{place}\n{age}",
                "tag.identity": f"{i // 4:03d}",
                "tag.record": f"{i // 2:03d}",
                "success": float(known),
                "candidates": 2 + int(known),
                "value": float(known),
                "label": "right" if known else "wrong",
            }
        )
    return rows
