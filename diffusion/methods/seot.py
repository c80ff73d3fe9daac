"""SEOT: damp the concept in the text states, also where the end tokens carry it, while sampling."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from mmunlearn.data import Split
from mmunlearn.errors import UserError
from mmunlearn.handle import Handle
from mmunlearn.methods.base import GuardMethod
from mmunlearn.settings import Settings, plain

from ..attention import CrossAttention
from ..conditioning import Condition, Tokens
from ..guard import Guard, GuardStep
from ..handle import DiffusionHandle
from ._guarding import guarded, phrases

STEP, STEP_LEAST = 20.0, 0.1  # of the descent on text states: 20 sqrt(linspace(1, 0.1)[step])


class SeotSettings(Settings):
    """alpha: of the damping. retain_frac, erase_frac: of the steps; before the first the prompt is untouched, from the
    second on it is only damped. iterations: of the descent in the steps between. The weights are those of its terms.
    cells: picture cells of the attention maps it looks at (the nearest that there is). threshold: of a token's mask, as
    a share of its greatest attention; 0.1 more for retained tokens."""

    alpha: float = 1.0
    retain_frac: float = Field(0.2, ge=0, le=1)
    erase_frac: float = Field(0.4, ge=0, le=1)
    iterations: int = Field(10, ge=0)
    retain_weight: float = 1.0
    erase_weight: float = -0.5
    self_retain_weight: float = 1.0
    self_erase_weight: float = -0.5
    cells: int = Field(256, ge=1)
    threshold: float = Field(0.85, gt=0, le=1)


class Seot(GuardMethod):
    """For prompts that name the concept: damp what its tokens and all end tokens have in common, then adjust the text
    states so that other tokens' attention stays and the concept's goes.

    Rows of the concept's tokens and of every position from the first end token on, as one matrix, have their singular
    values multiplied by `exp(−α s)`. In the steps between retain_frac and erase_frac the states then descend,
    `iterations` times, `Σ_retained (1 − cos(A, A')) − 0.5 Σ_concept (1 − cos(A, A'))` over attention maps under the
    original (A) and the changed states (A'), averaged over layers and heads, and the like for self-attention at the
    cells where a token is strong. Source: arXiv 2402.05375; SEOT repository at 69942d6; α 1, 0.2, 20 of 50 steps, 10
    iterations. Differs from the reference: A is taken at the same latents, where the code samples the original picture
    alongside; maps of the middle block count for A as for A'; masks are
    cut at the maps' own resolution. For models whose prompt is read by cross-attention alone (SD, SDXL).
    """

    needs = frozenset({"concept"})
    intent = "suppression"
    paper = "Li et al. 2024 (SuppressEOT, ICLR, arXiv 2402.05375)"
    stochastic = False
    toy = {"iterations": 2}

    class Config(SeotSettings):
        """See SeotSettings."""

    def wrap(self, handle: Handle, data: Mapping[str, Split], run) -> Handle:
        """Remember phrases and settings. Raises UserError for transformers, whose prompt ends without end tokens."""
        assert isinstance(handle, DiffusionHandle)
        if handle.family.joint:
            raise UserError(f"seot: works on the end tokens of CLIP prompts; {handle.family.name} is no such model.")
        return guarded(handle, Suppression(phrases(data["concept"], self.name()), SeotSettings(**plain(self.config))))


class Suppression(Guard):
    """Changes the prompts' states step by step; prompts without the concept are left alone."""

    method: ClassVar[str] = "seot"

    def __init__(self, words: Sequence[str], settings: SeotSettings):
        self.words, self.settings = list(words), settings

    def facts(self) -> Mapping[str, Any]:
        """Phrases and settings."""
        return {"phrases": self.words, "settings": plain(self.settings)}

    def at_step(self, handle: DiffusionHandle, step: GuardStep, latents: Tensor, condition: Condition) -> Condition:
        """The states that this step is conditioned on."""
        c = self.settings
        tokens = handle.tokenise(step.texts)
        places = [concept_places(tokens, row, self.words) for row in range(len(tokens))]
        rows = [row for row, found in enumerate(places) if found]
        if not rows or step.index < round(c.retain_frac * step.steps):
            return condition
        named, chosen = condition.index(rows), [places[row] for row in rows]
        ends = [int(tokens.first_eot[row]) for row in rows]
        states = damped(named.states, chosen, ends, c.alpha)
        if c.iterations and step.index < round(c.erase_frac * step.steps):
            size = STEP * (1 - (1 - STEP_LEAST) * step.index / max(step.steps - 1, 1)) ** 0.5
            descent = Descent(handle, latents[rows], step.t, c)
            states = descent.run(named, states, chosen, ends, size)
        changed = condition.states.clone()
        changed[rows] = states.to(changed.dtype)
        return Condition(changed, condition.pooled)


def concept_places(tokens: Tokens, row: int, words: Sequence[str]) -> list[int]:
    """Positions of the phrases' tokens in a prompt, in order; none where the prompt does not name the concept."""
    ids, found = tokens.ids[0][row].tolist(), set()
    for phrase in words:
        wanted = tokens.tokenizer(phrase, add_special_tokens=False).input_ids
        for i in range(len(ids) - len(wanted) + 1):
            if wanted and ids[i : i + len(wanted)] == wanted:
                found |= set(range(i, i + len(wanted)))
    return sorted(found)


def soft_weight(rows: Float[Tensor, "row width"], alpha: float) -> Float[Tensor, "row width"]:
    """The rows with singular values s replaced by s exp(−alpha s)."""
    left, values, right = torch.linalg.svd(rows.float(), full_matrices=False)
    return ((left * (values * torch.exp(-alpha * values))) @ right).to(rows.dtype)


def damped(
    states: Float[Tensor, "batch length width"], places: Sequence[Sequence[int]], ends: Sequence[int], alpha: float
) -> Float[Tensor, "batch length width"]:
    """The states with the concept's rows and those from the first end token on damped together."""
    made = states.clone()
    for row, (found, end) in enumerate(zip(places, ends, strict=True)):
        where = [*found, *range(end, states.shape[1])]
        made[row, where] = soft_weight(states[row, where], alpha)
    return made


class Descent:
    """Gradient steps on text states at one time of the walk."""

    def __init__(self, handle: DiffusionHandle, latents: Tensor, t: Tensor, settings: SeotSettings):
        self.handle, self.latents, self.t, self.settings = handle, latents, t, settings
        self.cross = handle.cross_attention()
        self.own = self_attention(handle.denoiser)

    def run(
        self,
        original: Condition,
        states: Tensor,
        places: Sequence[Sequence[int]],
        ends: Sequence[int],
        size: float,
    ) -> Tensor:
        """`states` after the iterations; rows do not influence each other."""
        with torch.no_grad():
            before = self._maps(original)
        for _ in range(self.settings.iterations):
            with torch.enable_grad():
                states = states.detach().requires_grad_(True)
                after = self._maps(Condition(states, original.pooled))
                loss = attention_loss(before, after, (places, ends), self.settings)
                if not loss.requires_grad:
                    break
                (slope,) = torch.autograd.grad(loss, states)
            states = states.detach() - size * slope
        return states.detach()

    def _maps(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """Attention averaged over heads and layers: (batch, cell, token), (batch, cell, cell)."""
        with self.handle.recorded_attention([*self.cross, *self.own]) as records:
            self.handle.predict(self.latents, self.t, condition)
        maps = []
        for layers in (self.cross, self.own):
            found = [records[layer.name] for layer in layers]
            cells = min({m.shape[2] for m in found}, key=lambda n: (abs(n - self.settings.cells), n))
            maps.append(torch.stack([m.double().mean(1) for m in found if m.shape[2] == cells]).mean(0))
        return maps[0], maps[1]


def self_attention(denoiser: nn.Module) -> list[CrossAttention]:
    """The U-Net's layers in which the picture attends to itself."""
    found = []
    for name, module in denoiser.named_modules():
        if name.endswith(".attn1"):
            layer: Any = module
            found.append(CrossAttention(name, module, layer.to_q, layer.to_k, layer.to_v, layer.to_out[0]))
    return found


def attention_loss(
    before: tuple[Tensor, Tensor],
    after: tuple[Tensor, Tensor],
    prompts: tuple[Sequence[Sequence[int]], Sequence[int]],
    settings: SeotSettings,
) -> Float[Tensor, ""]:
    """Weighted sums of 1 − cosine between attention maps before and after, over tokens and over their cells.

    before, after: (batch, cell, token) and (batch, cell, cell); prompts: positions of the concept's tokens and of the
    first end token, a prompt a row. Only tokens between the start token and the first end token count.
    """
    cross, own = cosine_gap(before[0], after[0]), cosine_gap(before[1], after[1])
    total = cross.new_zeros(())
    for row, (concept, end) in enumerate(zip(*prompts, strict=True)):
        for token in range(1, end):
            erased = token in concept
            total = total + (settings.erase_weight if erased else settings.retain_weight) * cross[row, token]
            seen = before[0][row, :, token]
            mask = seen >= seen.max() * (settings.threshold + (0.0 if erased else 0.1))
            weight = settings.self_erase_weight if erased else settings.self_retain_weight
            total = total + weight * own[row, mask].sum()
    return total


def cosine_gap(before: Float[Tensor, "batch cell column"], after: Float[Tensor, "batch cell column"]) -> Tensor:
    """1 − cosine of each column, (batch, column)."""
    return 1 - nn.functional.cosine_similarity(before, after, dim=1)


def restore(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Suppression:
    """The guard that `facts` describe."""
    return Suppression(facts["phrases"], SeotSettings(**facts["settings"]))
