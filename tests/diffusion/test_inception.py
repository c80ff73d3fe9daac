import pytest
import torch
from mmunlearn.diffusion.inception import StandardInception, UnlearnCanvasInception, open_inception, resized
from safetensors.torch import save_file

from mmunlearn.errors import UserError


def test_constant_pixels_reach_the_first_convolution_normalised_twice():
    network = UnlearnCanvasInception()
    black = network.seen(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))[0, :, 0, 0]
    white = network.seen(torch.full((1, 3, 8, 8), 255, dtype=torch.uint8))[0, :, 0, 0]
    assert [-0.488, -0.536, -0.638] == pytest.approx(black.tolist(), abs=5e-4)
    assert [0.428, 0.360, 0.262] == pytest.approx(white.tolist(), abs=5e-4)


def test_the_standard_network_sees_minus_one_to_one():
    network = StandardInception()
    assert [-1.0] * 3 == network.seen(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))[0, :, 5, 5].tolist()


def test_resize_takes_the_four_nearest_pixel_centres():
    x = torch.arange(2 * 16.0).reshape(1, 2, 4, 4)[:, [0, 1, 0]]
    made = resized(x, 3)

    def at(channel, row, column):
        """Bilinear between pixel centres, as cv2.resize computes it."""
        y, z = (row + 0.5) * 4 / 3 - 0.5, (column + 0.5) * 4 / 3 - 0.5
        y0, z0 = max(int(y), 0), max(int(z), 0)
        y1, z1 = min(y0 + 1, 3), min(z0 + 1, 3)
        dy, dz = max(y, 0) - y0, max(z, 0) - z0
        grid = x[0, channel].tolist()
        upper = grid[y0][z0] * (1 - dz) + grid[y0][z1] * dz
        lower = grid[y1][z0] * (1 - dz) + grid[y1][z1] * dz
        return upper * (1 - dy) + lower * dy

    expected = [[[at(c, i, j) for j in range(3)] for i in range(3)] for c in range(3)]
    torch.testing.assert_close(torch.tensor(expected), made[0])


def test_pooling_branches_of_the_standard_network_leave_the_border_out():
    """The branch's 1 x 1 convolution becomes the identity on one channel; then a corner is a mean over 4 and not 9."""
    network = StandardInception().network.eval()
    for name, corner in (("Mixed_5b", (0 + 1 + 3 + 4) / 4), ("Mixed_7c", 4.0)):
        block = getattr(network, name)
        seen = []
        block.branch_pool.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        channels = block.branch_pool.conv.in_channels
        x = torch.arange(9.0).reshape(1, 1, 3, 3).expand(1, channels, 3, 3)
        with torch.no_grad():
            block(x)
        assert corner == seen[0][0, 0, 0, 0].item()
    other = UnlearnCanvasInception().network.eval()
    seen = []
    other.Mixed_5b.branch_pool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        other.Mixed_5b(torch.arange(9.0).reshape(1, 1, 3, 3).expand(1, 192, 3, 3))
    assert pytest.approx(8 / 9) == seen[0][0, 0, 0, 0].item()


def test_features_of_the_hook_are_those_of_the_whole_pass(tmp_path):
    """Mixed_7c by a hook on torchvision's own forward, as the published script takes it."""
    network = UnlearnCanvasInception().eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for parameter in network.parameters():
            parameter.normal_(0, 0.05)
    caught = []
    network.network.Mixed_7c.register_forward_hook(lambda *parts: caught.append(parts[2]))
    pictures = torch.randint(0, 256, (1, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        network.network(resized(pictures.float() / 255, 299) * 2 - 1)
        torch.testing.assert_close(caught[0].mean((2, 3)), network(pictures))


def test_missing_and_foreign_weights_are_refused(tmp_path):
    with pytest.raises(UserError, match="fid_mini"):
        open_inception("standard", "")
    with pytest.raises(UserError, match="no such weights file"):
        open_inception("standard", str(tmp_path / "none.pth"))
    save_file({"fc.weight": torch.ones(1000, 2048)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="weights of another model"):
        open_inception("standard", str(tmp_path / "other.safetensors"))
