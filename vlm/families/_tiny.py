"""What the small random models of all families share: tokenizer, chat template, sizes, and how weights are drawn."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmunlearn.errors import UserError, near_miss
from mmunlearn.settings import merge

VOCABULARY = Path(__file__).parents[1] / "data" / "mini_tokenizer.json"
PAD = "<pad>"

VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 2048,
}  # fmt: skip


def sized(architecture: Mapping[str, Any], *, vision: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of tower and language model: `architecture` over the family's over the common ones."""
    own = {"vision": dict(vision), "text": {**TEXT, **text}}
    unknown = sorted(set(architecture) - set(own))
    if unknown:
        raise UserError(f"model.architecture.{unknown[0]}: is unknown. {near_miss(unknown[0], own)}")
    return merge(own, copy.deepcopy(dict(architecture)))


def tokenizer(
    end: str, special: Sequence[str] = (), *, start: str | None = None, named: Mapping[str, str] | None = None
) -> Any:
    """The minis' byte-level BPE with a family's special tokens; `start` is put before every text, as Llama's does.

    named: special tokens that the family's processor looks up as attributes of the tokenizer.
    """
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(
        tokenizer_file=str(VOCABULARY), bos_token=start, eos_token=end, pad_token=PAD, unk_token=None,
        extra_special_tokens=dict(named or {}),
    )  # fmt: skip
    made.add_special_tokens({"additional_special_tokens": list(dict.fromkeys(special))})
    if start is not None:
        made.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, made.convert_tokens_to_ids(start))]
        )
    return made


def special_ids(made: Any) -> dict[str, Any]:
    """bos, eos and pad ids as configurations name them."""
    return {"bos_token_id": made.bos_token_id, "eos_token_id": made.eos_token_id, "pad_token_id": made.pad_token_id}


def chat(open_: str, close: str, image: str, *, head: str = "", roles: Mapping[str, str] | None = None) -> str:
    """A jinja chat template: `head`, then for each turn `open_` with its role, the content, `close`.

    open_: text with {role}; image: what stands for a picture; roles: names of the roles where they are not their own.
    """
    names = {"system": "system", "user": "user", "assistant": "assistant"} | dict(roles or {})
    table = "{% set names = " + repr(names) + " %}"
    turn = open_.replace("{role}", "{{ names[m['role']] }}")
    reply = open_.replace("{role}", names["assistant"]).rstrip(" ")
    return (
        table + head + "{% for m in messages %}" + turn
        + "{% for c in m['content'] %}{% if c['type'] == 'image' %}" + image
        + "{% else %}{{ c['text'] }}{% endif %}{% endfor %}" + close
        + "{% endfor %}{% if add_generation_prompt %}" + reply + "{% endif %}"
    )  # fmt: skip
