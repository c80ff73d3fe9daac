"""P4D: a prompt at which the unlearned model predicts what the original does at the plain one."""

from typing import Any, Literal

from ..prompt_tokens import EVERY, Insertion
from .base_gradient import GradientAttack, GradientSettings, Order, Variable

_PAPER = {"lr": 0.1, "decoupled": True, "order": "each_step", "steps": 50, "rounds": 60}

# What the variants fix where the settings leave it open.
VARIANTS: dict[str, dict[str, Any]] = {
    "unlearndiffatk": {},
    "n": {"k": 16, "insertion": "suffix", **_PAPER},
    "k": {"insertion": "per_k_words", **_PAPER},
}


class P4d(GradientAttack):
    """Minimise MSE(ε_θ(z_t, t, c'), ε_θo(z_t, t, c)), θo the original model, c the goal's own prompt.

    The variable is a continuous embedding a place, random tokens' at first; the forward pass reads the nearest word by
    cosine, and the gradient there moves the continuous one. variant: "unlearndiffatk" as its repository rebuilt P4D
    (Adam with L2 0.1, lr 0.01, the same times and steps as its own attack, k = 5 or 3 tokens before the prompt); "n",
    sixteen tokens behind the prompt, and "k", one before every three, as the paper's own code (AdamW, lr 0.1, a random
    time each step, a picture every 50 of 3,000 steps). loss: attacker is the crossing with UnlearnDiffAtk's objective,
    variable: tokens the other. A variant's settings go before the fields'. Sources: Chin et al. 2024 (joycenerd/P4D);
    diffusion sheet 2.6 (Diffusion-MU-Attack, src/attackers/hard_prompt_.py, src/tasks/P4D_.py).

    Differs from the repository: as UnlearnDiffAtk's do (ids are asked, an end token always follows).
    """

    paper = "Chin et al. 2024 (P4D)"
    toy = {"rounds": 2, "steps": 2, "candidates": 2, "k": 2}

    class Config(GradientSettings):
        """variant: see the class."""

        variable: Variable = "nearest"
        loss: Literal["attacker", "original"] = "original"
        order: Order = "ascending"
        variant: Literal["unlearndiffatk", "n", "k"] = "unlearndiffatk"

    def __init__(self, config: Any = None):
        super().__init__(config)
        fixed = VARIANTS[self.config.variant]
        if fixed:
            self.config = self.config.model_copy(update=fixed)

    def inserted(self, goal: Any, words: int) -> int:
        """P4D-K's number grows with the prompt."""
        return max(1, -(-words // EVERY)) if self.config.variant == "k" else super().inserted(goal, words)

    def insertion(self) -> Insertion:
        """As the variant says."""
        return self.config.insertion
