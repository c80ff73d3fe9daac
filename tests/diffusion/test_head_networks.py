import torch
from mmunlearn.diffusion.head_networks import folded, two_heads
from torch import nn


def trained_a_little():
    torch.manual_seed(0)
    network = two_heads("mini", 3, 5)
    for _ in range(3):  # running statistics away from 0 and 1
        network(torch.randn(8, 3, 32, 32) * 2 + 1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_()
    return network.eval()


def test_folding_changes_no_answer_and_leaves_the_network_as_it_was():
    network, pictures = trained_a_little(), torch.randn(4, 3, 32, 32)
    names = list(network.state_dict())
    with torch.no_grad():
        expected, answers = network(pictures), folded(network)(pictures)
    for one, other in zip(expected, answers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert names == list(network.state_dict())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded(network).modules())


def test_a_network_without_batch_normalisation_is_not_copied():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert folded(network) is network
