"""Head projection defence: keep the answer out of the top and out of the bottom of what every layer would say."""

import torch
from pydantic import Field
from torch import Tensor

from ..edit_training import Seen, mean_by_record
from ._single_fact import HiddenStateMethod, HiddenStateSettings


class HeadProjection(HiddenStateMethod):
    """Minimise the mean over defended states of `relu(p(y) − p^(k)) + relu(p^(−k) − p(y))`.

    p: the logit lens's distribution where y is predicted; p^(k), p^(−k): its k-th largest and k-th smallest value.
    Source: vlm_unlok_offside_med 1.7 (k = 100, states 22 to 32 of 32). Intended form: the state that is normed already
    is not normed again, y is the answer's first token, which the attacks look for, k is at most a quarter of the
    vocabulary. `reference: true`: double norm (U2) and the last token (U3). The released loss is the margin alone
    although the flag of fact erasure is passed (U14); `erase` adds it."""

    intent = "removal"

    class Config(HiddenStateSettings):
        """k: how many tokens lie between the answer and either end."""

        k: int = Field(100, ge=1)

    def loss(self, seen: Seen, records: int) -> Tensor:
        """The margins of each record, and `erase` times p(y|x)."""
        p, token = self.lens(seen)
        k = min(self.config.k, max(1, p.shape[-1] // 4))
        own = p.gather(-1, token.expand(-1, p.shape[1], 1))[..., 0]
        high, low = p.topk(k, dim=-1).values[..., -1], p.topk(k, dim=-1, largest=False).values[..., -1]
        margin = (own - high).relu() + (low - own).relu()
        value = mean_by_record(margin.mean(1), seen.owner, records)
        if self.config.erase:
            value = value + self.config.erase * mean_by_record(torch.exp(seen.logprob()), seen.owner, records)
        return value
