"""Sentence BLEU as nltk computes it with its smoothing method 1, and words as nltk's tokenizer cuts them."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

EPSILON = 0.1  # stands for a count of zero matches (method 1)
ORDER = 4
# Treebank rules as far as plain sentences need them: clitics, punctuation apart, full stops at the end of sentences.
QUOTE = re.compile(r"(?:(?<=^)|(?<=[\s(\[{<]))[\"“]|^[\"“]")
CLITICS = re.compile(r"(?<=\w)('s|'m|'d|'ll|'re|'ve|n't)(?=\W|$)")
APART = re.compile(r"(``|''|\.\.\.|--|[;@#$%&?!()\[\]{}<>]|[,:](?!\d)|(?<=\w)'(?=\s|$))")
STOP = re.compile(r"(?<!\.)([.])(?=[\])}>\"']*\s*$)")
SENTENCE = re.compile(r"(?:(?<=\w\w\w[.!?])|(?<=\d\d[.!?])|(?<=\)[.!?]))\s+(?=\S)")


def words(text: str) -> list[str]:
    """Lower-cased words and marks.

    Differs from nltk's word_tokenize: sentences end where a full stop, question or exclamation mark is followed by a
    blank, since its trained model of abbreviations is no part of the package.

    >>> words("He doesn't live in Oslo, does he? No: 10.5 km off.")
    ['he', 'does', "n't", 'live', 'in', 'oslo', ',', 'does', 'he', '?', 'no', ':', '10.5', 'km', 'off', '.']
    """
    found: list[str] = []
    for sentence in SENTENCE.split(text.strip().lower()):
        cut = QUOTE.sub("`` ", sentence).replace('"', " '' ").replace("”", " '' ")
        cut = STOP.sub(r" \1 ", APART.sub(r" \1 ", CLITICS.sub(r" \1", cut)))
        found += cut.split()
    return found


def bleu(reference: Sequence[str], candidate: Sequence[str]) -> float:
    """Geometric mean of the clipped precisions of 1- to 4-grams with equal weights times the brevity penalty
    `min(1, exp(1 − |reference| / |candidate|))`.

    A precision without a match becomes 0.1 / denominator (method 1), a denominator is at least 1, and without a common
    word BLEU is 0: all as nltk has it, which gives an exact answer shorter than four words less than 1.

    >>> round(bleu(["yes"], ["yes"]), 3)
    0.178
    """
    if not candidate:
        return 0.0
    logs = 0.0
    for n in range(1, ORDER + 1):
        had, said = _grams(reference, n), _grams(candidate, n)
        hits, total = sum((had & said).values()), max(1, sum(said.values()))
        if n == 1 and not hits:
            return 0.0
        logs += math.log((hits or EPSILON) / total) / ORDER
    brevity = 1.0 if len(candidate) > len(reference) else math.exp(1 - len(reference) / len(candidate))
    return brevity * math.exp(logs)


def _grams(tokens: Sequence[str], n: int) -> Counter[Any]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
