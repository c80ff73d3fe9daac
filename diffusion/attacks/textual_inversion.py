"""Textual inversion on the victim: free embeddings before the prompt, an upper bound for what prompts can reach."""

from pydantic import Field

from .base_gradient import GradientAttack, GradientSettings, Order, Variable


class TextualInversion(GradientAttack):
    """Minimise E ||ε - ε_θ(z_t, t, [v, c])||² over k embeddings v that need be no words.

    An upper bound, not a prompt: nobody can type v; who holds the weights can use it (Gal et al. 2023; on
    unlearned models Pham et al. 2024). Adam without decay, a random time each step;
    forty steps between pictures, so that the budget is that of the other attacks (ours). v goes with the found prompt
    in its tag `embeddings`, its nearest words stand in the text.
    """

    paper = "Gal et al. 2023 (textual inversion); Pham et al. 2024 (on unlearned models)"
    toy = {"rounds": 2, "steps": 2, "candidates": 2, "k": 2}
    known_failures = {"resumable by goal": "the embeddings found differ by the rounding of batched sums"}

    class Config(GradientSettings):
        """Settings and budget; every field has a default."""

        variable: Variable = "free"
        order: Order = "each_step"
        weight_decay: float = Field(0.0, ge=0)
