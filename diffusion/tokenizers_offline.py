"""Tokenizers without a download: CLIP's own vocabulary from open_clip's package, a letter vocabulary for small T5s."""

import functools
import gzip
import string
from typing import Any

# Lines of the merges file that CLIP uses: a vocabulary of 49,408 less 512 byte symbols and two special tokens.
MERGES = slice(1, 49152 - 256 - 2 + 1)
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
MAX_LENGTH = 77


@functools.cache
def clip_words() -> tuple[dict[str, int], tuple[tuple[str, str], ...]]:
    """Vocabulary and merges of CLIP's byte-pair encoding (Radford et al. 2021)."""
    from open_clip.tokenizer import bytes_to_unicode, default_bpe

    with gzip.open(default_bpe(), "rt", encoding="utf-8") as stream:
        lines = stream.read().split("\n")[MERGES]
    merges = tuple((a, b) for a, b in (line.split() for line in lines))
    symbols = list(bytes_to_unicode().values())
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), *("".join(pair) for pair in merges), *SPECIAL]
    return {word: number for number, word in enumerate(words)}, merges


def clip_tokenizer(length: int = MAX_LENGTH) -> Any:
    """The tokenizer of Stable Diffusion 1.x: 49,408 tokens, padded to `length` with the end token."""
    from transformers import CLIPTokenizer

    vocabulary, merges = clip_words()
    pairs: list[Any] = list(merges)  # typed as text in transformers, which hands pairs on as they are
    return CLIPTokenizer(vocab=dict(vocabulary), merges=pairs, model_max_length=length)


def letters_tokenizer(length: int) -> Any:
    """A tokenizer in T5's manner over single letters, for T5 encoders that are made from scratch."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_letters, *string.digits, *".,-_'!?"]
    inner = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=2, byte_fallback=False))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=length
    )
