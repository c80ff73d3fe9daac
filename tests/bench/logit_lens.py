"""Logit lens: all layers of all records in one forward pass against one forward pass a record and layer.

    python tests/bench/logit_lens.py [RECORDS]

The loop reads one layer of one record at a time: batch 1, hidden states of all positions, norm, the head over the whole
vocabulary and a full sort, as a reader written for one layer does. Ours: `states` and `read` of the package's
logit_lens. Random weights; both sides' log-probabilities are compared.
"""

import sys
import time

import torch
from mmunlearn.vlm.handle import VlmHandle
from mmunlearn.vlm.logit_lens import read, states
from mmunlearn.vlm.toy import SIZE_PX, toy_splits

TARGET = 7.0  # a pass a layer instead of one for all seven states
ARCHITECTURE = {
    "vision": {"image_size": SIZE_PX, "num_hidden_layers": 2},
    "text": {"hidden_size": 160, "intermediate_size": 480, "num_hidden_layers": 6, "num_attention_heads": 5,
             "num_key_value_heads": 5},
}  # fmt: skip


@torch.no_grad()
def loop(handle: VlmHandle, examples, layers: int) -> torch.Tensor:
    """(record, layer, vocab) log-probabilities, one forward pass each."""
    rows = []
    norm, head = handle.module.model.language_model.norm, handle.module.get_output_embeddings()
    for example in examples:
        ids = handle.prompt_ids(example)
        inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        inputs["pixel_values"] = handle.picture(example).tensors["pixel_values"]
        own = []
        for layer in range(layers):
            hidden = handle.module(**inputs, output_hidden_states=True).hidden_states[layer]
            logits = head(hidden if layer == layers - 1 else norm(hidden)).log_softmax(-1)
            logits.sort(-1)
            own.append(logits[0, -1])
        rows.append(torch.stack(own))
    return torch.stack(rows)


def main(records: int = 24) -> float:
    """Print both times and their ratio."""
    torch.set_num_threads(1)
    handle = VlmHandle({"architecture": ARCHITECTURE, "template": "mini"}, 0)
    examples = toy_splits(forget=records)["forget"].examples
    loop(handle, examples[:1], 7)
    started = time.perf_counter()
    slow = loop(handle, examples, 7)
    slow_s = time.perf_counter() - started
    started = time.perf_counter()
    fast = read(handle, states(handle, examples))
    fast_s = time.perf_counter() - started
    apart = float((slow - fast).abs().max())
    print(f"{records} records, 7 states: loop {slow_s:.2f} s, one pass {fast_s:.3f} s: {slow_s / fast_s:.1f}x")
    print(f"target {TARGET:g}x; largest difference {apart:.1e} nats")
    return slow_s / fast_s


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 24)
