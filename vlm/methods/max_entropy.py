"""Max-entropy defence: make what every layer would say as even as possible."""

import torch
from torch import Tensor

from ..edit_training import Seen, mean_by_record
from ._single_fact import HiddenStateMethod


class MaxEntropy(HiddenStateMethod):
    """Minimise the mean over defended states of −H(p), p the logit lens's distribution where the answer is predicted.

    Source: vlm_unlok_offside_med 1.7 (states 22 to 32 of 32). Intended form and `reference` as in head_projection. The
    released loss is the entropy alone although the flag of fact erasure is passed (U14); `erase` adds it.
    """

    intent = "removal"

    def loss(self, seen: Seen, records: int) -> Tensor:
        """−H of each record, in nats, and `erase` times p(y|x)."""
        p, _ = self.lens(seen)
        entropy = -torch.special.xlogy(p, p).sum(-1)
        value = -mean_by_record(entropy.mean(1), seen.owner, records)
        if self.config.erase:
            value = value + self.config.erase * mean_by_record(torch.exp(seen.logprob()), seen.owner, records)
        return value
