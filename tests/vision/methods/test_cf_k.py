"""CF-k against a hand-written loop; what is frozen stays."""

import pytest
import torch
from mmunlearn.vision.methods.cf_k import CfK

from mmunlearn.errors import UserError

LAST = ("layer2.", "fc.")


def loop(kit, handle, data, *, lr, size, epochs, still):
    """SGD on the retain set over layer2 and fc, written out; `still`: other blocks' batch norm in evaluation mode."""
    module = handle.module
    for epoch in range(epochs):
        for batch in kit.epoch_batches(handle, data["retain"], "retain", epoch, size, seed=0):
            module.train()
            if still:
                module.bn1.eval()
                module.layer1[1].eval()
            module.zero_grad()
            logits = module(handle.inputs(batch))
            loss = torch.nn.functional.cross_entropy(logits, batch.tensors["target"][:, 0])
            loss.backward()
            with torch.no_grad():
                for name, p in module.named_parameters():
                    if name.startswith(LAST):
                        p -= lr * p.grad
    module.eval()


@pytest.mark.parametrize("statistics", ["trained", "all"])
def test_equals_hand_written_sgd_over_the_last_blocks(kit, statistics):
    handle, data = kit.trained()
    slow = handle.copy()
    CfK({"k": 1, "batch_size": 10, "optimiser": {"lr": 0.05}, "statistics": statistics}).apply(handle, data, kit.run())
    loop(kit, slow, data, lr=0.05, size=10, epochs=2, still=statistics == "trained")
    assert kit.largest_difference(handle, slow) <= 1e-6


def test_only_the_last_blocks_change_statistics_included(kit):
    handle, data = kit.trained()
    before = kit.weights(handle)
    CfK({"k": 1, "optimiser": {"lr": 0.05}}).apply(handle, data, kit.run())
    after = kit.weights(handle)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {"layer2", "fc"}
    assert "layer2.1.running_mean" in changed


def test_forgets_while_the_retain_set_is_kept(kit):
    handle, data = kit.trained()
    forget, retain = kit.nll(handle, data["forget"]), kit.nll(handle, data["retain"])
    CfK({"k": 2, "epochs": 30, "optimiser": {"lr": 0.1, "momentum": 0.9}, "batch_size": 12}).apply(
        handle, data, kit.run()
    )
    assert kit.nll(handle, data["forget"]) > forget + 2
    assert kit.nll(handle, data["retain"]) <= retain + 0.05


def test_k_beyond_the_model_is_refused_with_its_blocks(kit):
    handle, data = kit.trained()
    with pytest.raises(UserError, match="stem, layer1, layer2"):
        CfK({"k": 4}).apply(handle, data, kit.run())


def test_multi_label_heads_train_on_binary_cross_entropy(kit):
    handle, data = kit.trained("labels")
    slow = handle.copy()
    settings = {"k": 0, "batch_size": 24, "epochs": 1, "augment": False, "norm": "frozen", "optimiser": {"lr": 0.5}}
    CfK(settings).apply(handle, data, kit.run())
    batch = slow.collate(data["retain"].examples)
    logits = slow.module(slow.inputs(batch))
    loss = 0.0
    for i in range(24):
        for j in range(4):
            y = batch.tensors["target"][i, j]
            loss = loss - torch.log(torch.sigmoid(logits[i, j] if y == 1 else -logits[i, j])) / 96
    gradient = torch.autograd.grad(loss, slow.module.fc.weight)[0]
    expected = slow.module.fc.weight - 0.5 * gradient
    assert float((handle.module.fc.weight - expected).detach().abs().max()) <= 1e-6
