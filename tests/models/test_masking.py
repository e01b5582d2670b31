from __future__ import annotations

import pytest
import torch

from models.lvm import LVM, LVMConfig
from models.masking import Masking, draw_hidden, enlarged, reconstruction_loss
from models.preprocessing import Preprocessing

CONFIG = LVMConfig(
    image_size=32, window=4, width=8, depths=(1, 1), heads=(2, 2), pooling=("mean1",),
    preprocessing=Preprocessing(kind="rgb8", size=32),
)  # fmt: skip


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (0.5, 8), (0.9, 14)])
def test_every_image_hides_the_same_number_of_patches(ratio: float, count: int) -> None:
    hidden = draw_hidden(5, 32, 8, ratio, torch.Generator().manual_seed(1))
    assert hidden.shape == (5, 4, 4)
    assert hidden.sum((1, 2)).tolist() == [count] * 5
    if 0 < count < 16:
        assert not torch.equal(hidden[0], hidden[1])


def test_the_network_sees_nothing_of_hidden_patches() -> None:
    torch.manual_seed(0)
    lvm, masking = LVM(CONFIG), Masking(8)
    images = torch.rand(2, 3, 32, 32)
    hidden = draw_hidden(2, 32, 8, 0.5, torch.Generator().manual_seed(1))
    covered = enlarged(hidden, 32)[:, None].expand(-1, 3, -1, -1)
    # The first convolution reaches one pixel over the edge of a patch, so that rim stays.
    inside = -torch.nn.functional.max_pool2d(-covered.float(), 3, 1, 1) > 0
    other = torch.where(inside, torch.rand_like(images), images)
    assert (other != images).float().mean() > 0.2

    def given(values: torch.Tensor) -> list[torch.Tensor]:
        return lvm.encoder.describe(masking(lvm.encoder.tokens(values), hidden))[1]

    changed = lvm.encoder(other)[1][-1] - lvm.encoder(images)[1][-1]
    assert changed.abs().max() > 0.01
    torch.testing.assert_close(given(other)[-1], given(images)[-1], atol=1e-6, rtol=0)


def test_the_loss_is_over_all_pixels() -> None:
    images = torch.zeros(1, 3, 32, 32)
    hidden = torch.zeros(1, 4, 4, dtype=torch.bool)
    hidden[0, 0] = True
    given = torch.full_like(images, 0.1)
    given[:, :, :8] = 0.5
    loss, unseen = reconstruction_loss(images, given, hidden)
    assert loss.item() == pytest.approx(0.25 * 0.5 + 0.75 * 0.1)
    assert unseen.item() == pytest.approx(0.5)
    assert reconstruction_loss(images, given, hidden & False)[1].item() == 0
