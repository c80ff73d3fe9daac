"""Which tensors attacks that coarsen weights touch."""

from torch import nn


def weight_tensors(module: nn.Module) -> list[nn.Parameter]:
    """Weights with more than one dimension, in the order of the module; tables of embeddings stay, also where an output
    layer shares one, as they do where models are quantised in practice."""
    tables = {id(p) for layer in module.modules() if isinstance(layer, nn.Embedding) for p in layer.parameters()}
    return [p for p in module.parameters() if p.ndim > 1 and id(p) not in tables]
