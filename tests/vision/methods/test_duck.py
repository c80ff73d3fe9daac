"""DUCK: centroids and distances by loops, the method against a hand-written one."""

import pytest
import torch
from mmunlearn.vision.methods.duck import Duck, centroids, nearest_distance

from mmunlearn.errors import UserError


def features_of(handle, x):
    """What the linear head sees."""
    net = handle.module
    return net.layer2(net.layer1(net.bn1(net.conv1(x)).relu())).flatten(1)


def slow_centroids(handle, split):
    groups = {}
    for example in split:
        with torch.no_grad():
            f = features_of(handle, handle.inputs(handle.collate([example])))[0]
        groups.setdefault(tuple(torch.tensor([example.target]).flatten().tolist()), []).append(f)
    return {target: sum(found) / len(found) for target, found in groups.items()}


@pytest.mark.parametrize("head", ["classes", "labels"])
def test_centroids_are_the_mean_features_of_each_target(kit, head):
    handle, data = kit.trained(head)
    method = Duck({"epochs": 0})
    method.apply(handle, data, kit.run())
    expected = slow_centroids(handle, data["retain"])
    found = {tuple(t.tolist()): c for t, c in zip(method._classes, method._centroids, strict=True)}
    assert expected.keys() == found.keys()
    for target in expected:
        torch.testing.assert_close(found[target], expected[target], atol=1e-5, rtol=1e-5)


def test_hand_computed_distances():
    classes, means = centroids(torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 1.0]]), torch.tensor([[0], [0], [1]]))
    assert ([[0], [1]], [[3.0, 0.0], [0.0, 1.0]]) == (classes.tolist(), means.tolist())
    own = torch.tensor([[True, False], [False, False]])
    distance = nearest_distance(torch.tensor([[1.0, 1.0], [3.0, 4.0]]), means, own)
    torch.testing.assert_close(distance, torch.tensor([1 - 0.5**0.5, 1 - 0.8]))


@pytest.mark.parametrize("head", ["classes", "labels"])
def test_equals_the_method_written_out(kit, head):
    handle, data = kit.trained(head)
    slow = handle.copy()
    settings = {"epochs": 2, "batch_size": 5, "optimiser": {"name": "sgd", "lr": 0.01}}
    Duck(settings).apply(handle, data, kit.run())
    means, index = slow_centroids(slow, data["retain"]), 0
    for epoch in range(2):
        for batch in kit.epoch_batches(slow, data["forget"], "forget", epoch, 5, seed=0):
            kept = kit.endless_batch(slow, data["retain"], "retain", index, 5, seed=0)
            slow.module.train()
            slow.module.zero_grad()
            f, loss = features_of(slow, slow.inputs(batch)), 0.0
            for row, target in enumerate(batch.tensors["target"]):
                others = [c for t, c in means.items() if t != tuple(target.tolist())]
                distances = [1 - torch.nn.functional.cosine_similarity(f[row], c, dim=0) for c in others]
                loss = loss + 1.5 * min(distances) / len(batch)
            z, y = slow.module(slow.inputs(kept)) / 2, kept.tensors["target"]
            if head == "classes":
                loss = loss + 1.5 * torch.nn.functional.cross_entropy(z, y[:, 0])
            else:
                loss = loss + 1.5 * torch.nn.functional.binary_cross_entropy_with_logits(z, y.float())
            loss.backward()
            with torch.no_grad():
                for p in slow.module.parameters():
                    if p.grad is not None:
                        p -= 0.01 * p.grad
            index += 1
    slow.module.eval()
    assert kit.largest_difference(handle, slow) <= 1e-5


def test_forgets_while_the_retain_set_is_kept(kit):
    handle, data = kit.trained()
    settings = {"epochs": 20, "batch_size": 12, "augment": False, "optimiser": {"lr": 0.003}}
    Duck(settings).apply(handle, data, kit.run())
    assert kit.nll(handle, data["forget"]) > 1
    assert kit.nll(handle, data["retain"]) < 0.3


def test_a_single_class_is_refused(kit):
    handle, data = kit.trained()
    one = kit.split_of(e for e in data["retain"] if e.target == 0)
    with pytest.raises(UserError, match="one class"):
        Duck().apply(handle, data | {"retain": one}, kit.run())
