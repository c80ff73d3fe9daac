"""UnlearnDiffAtk: a few tokens before a prompt, found with the victim alone as a diffusion classifier."""

from .base_gradient import GradientAttack, GradientSettings


class Unlearndiffatk(GradientAttack):
    """Minimise over k inserted tokens E ||ε - ε_θ(z_t, t, c')||², z the target picture's latents, ε fresh each step.

    A place holds a distribution u over the vocabulary, 1/V at first. Each step draws one token from it (forward; the
    gradient passes straight through, clipped to [-1, 1]), lets Adam (lr 0.01, L2 0.1 in the gradient) change u, and
    projects u onto the simplex. Fifty times t = 10, 30 … 990, forty steps each, one variable and one optimiser
    throughout; after each time the most likely tokens are asked and judged. Sources: Zhang et al. 2024 (arXiv
    2310.11868); diffusion sheet 2.1 to 2.3 (Diffusion-MU-Attack, src/attackers/text_grad_.py, src/tasks/classifier_.py)

    Differs from the repository: token ids are what is asked (it decodes and reads the text again), an end token always
    follows the prompt, and the projection is exact (`projection: bisection` is its own, whose rows sum to 1 only
    about). Models that predict v or a velocity are compared by the noise that this means (`error`).
    """

    paper = "Zhang et al. 2024 (UnlearnDiffAtk)"
    toy = {"rounds": 2, "steps": 2, "candidates": 2, "k": 2}

    class Config(GradientSettings):
        """Settings and budget; every field has a default."""
