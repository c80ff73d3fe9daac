"""EU-k: the last blocks are new, everything before is the original's, and the new blocks learn the retain set."""

import pytest
import torch
from mmunlearn.vision.methods.eu_k import EuK

from mmunlearn.errors import UserError
from mmunlearn.seeds import derive

SETTINGS = {"k": 1, "epochs": 2, "batch_size": 10, "optimiser": {"lr": 0.05, "momentum": 0.9}}


def loop(kit, handle, data, seed=0):
    """Reset layer2 and fc, then SGD with momentum on the retain set, written out."""
    module = handle.module
    new = handle.fresh(derive(seed, "init", "eu_k")).module
    module.layer2, module.fc = new.layer2, new.fc
    velocity = {}
    for epoch in range(2):
        for batch in kit.epoch_batches(handle, data["retain"], "retain", epoch, 10, seed=seed):
            module.eval()
            module.layer2.train()
            module.zero_grad()
            logits = module(handle.inputs(batch))
            torch.nn.functional.cross_entropy(logits, batch.tensors["target"][:, 0]).backward()
            with torch.no_grad():
                for name, p in [*module.layer2.named_parameters("layer2"), *module.fc.named_parameters("fc")]:
                    velocity[name] = 0.9 * velocity.get(name, 0) + p.grad
                    p -= 0.05 * velocity[name]
    module.eval()


def test_equals_hand_written_reset_and_training(kit):
    handle, data = kit.trained()
    slow = handle.copy()
    EuK(SETTINGS).apply(handle, data, kit.run())
    loop(kit, slow, data)
    assert kit.largest_difference(handle, slow) <= 1e-6


def test_earlier_blocks_keep_weights_and_statistics(kit):
    handle, data = kit.trained()
    before = kit.weights(handle)
    EuK(SETTINGS).apply(handle, data, kit.run())
    after = kit.weights(handle)
    for name in before:
        if not name.startswith(("layer2.", "fc.")):
            assert torch.equal(before[name], after[name]), name


def test_reference_leaves_the_head_frozen(kit):
    handle, data = kit.trained()
    before = kit.weights(handle)
    EuK({**SETTINGS, "head": "frozen", "norm": "frozen"}).apply(handle, data, kit.run())
    after = kit.weights(handle)
    assert torch.equal(before["fc.weight"], after["fc.weight"])
    assert not torch.equal(before["layer2.0.weight"], after["layer2.0.weight"])


def test_nothing_of_the_forget_set_is_left_in_the_new_blocks(kit):
    handle, data = kit.trained()
    forget = kit.nll(handle, data["forget"])
    EuK({**SETTINGS, "k": 3, "epochs": 20, "augment": False}).apply(handle, data, kit.run())
    assert kit.nll(handle, data["forget"]) > forget + 1
    assert kit.nll(handle, data["retain"]) < 0.2


def test_nothing_to_train_is_refused(kit):
    handle, data = kit.trained()
    with pytest.raises(UserError, match="nothing to train"):
        EuK({"k": 0, "head": "frozen"}).apply(handle, data, kit.run())
