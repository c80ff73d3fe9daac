"""Generation whose draws belong to the example: equal whatever the batch, its order or the number of processes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmunlearn.seeds import generator


class KeyedSampling:
    """A logits processor for greedy search that samples: argmax of log-probabilities plus Gumbel noise is a draw from
    the softmax (Gumbel-max), and the noise of step t of an example is a function of (seed, key, t) alone.

    temperature > 0; top_p: keep the smallest set of tokens whose probability reaches it (1: all).
    """

    def __init__(self, keys: Sequence[int], seed: int, temperature: float, top_p: float = 1.0):
        self.draws = [generator(seed, "sample", int(key)) for key in keys]
        self.temperature, self.top_p = temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(batch, vocab) scores with the noise of this step added; one call a step, as `generate` makes."""
        logits = scores.float() / self.temperature
        if self.top_p < 1:
            ordered, order = logits.sort(dim=-1, descending=True)
            probability = ordered.softmax(-1)
            beyond = probability.cumsum(-1) - probability >= self.top_p
            logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)
        noise = torch.stack([torch.from_numpy(d.gumbel(size=logits.shape[-1])) for d in self.draws])
        return logits + noise.to(logits.device, logits.dtype)


@torch.no_grad()
def generate(
    model: Any,
    inputs: dict[str, Any],
    *,
    max_new_tokens: int,
    end_ids: Sequence[int],
    pad_id: int,
    sampling: KeyedSampling | None = None,
) -> Tensor:
    """New token ids (batch, ≤ max_new_tokens), padded with `pad_id` after the end; inputs are padded on the left and
    may hold past_key_values of all but their last token."""
    from transformers import GenerationConfig, LogitsProcessorList

    config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, num_beams=1, eos_token_id=list(end_ids) or None,
        pad_token_id=pad_id, use_cache=True,
    )  # fmt: skip
    processors = LogitsProcessorList([sampling] if sampling else [])
    made = model.generate(**inputs, generation_config=config, logits_processor=processors)
    return made[:, inputs["input_ids"].shape[1] :]
