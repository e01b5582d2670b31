"""Windows: what they see is where they say, and comes back to where it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.answers import Box
from models.windows import Window


def ramp(height: int = 80, width: int = 100) -> torch.Tensor:
    """An image whose two channels are x and y of the pixels' centres."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y])


@pytest.mark.parametrize("turn", [0.0, 33.0, 90.0, 200.0])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("side", [20.0, 45.0])
def test_samples_lie_where_place_says(turn: float, mirrored: bool, side: float) -> None:
    window = Window(50, 40, side, turn, mirrored)
    seen = window.sample(ramp(), 16)
    for row, column in [(0, 0), (3, 12), (15, 15)]:
        x, y = seen[:, row, column].tolist()
        assert window.place(x, y) == pytest.approx(
            ((column + 0.5) / 16, (row + 0.5) / 16), abs=0.01
        )


def test_same_samples_as_a_scene_cuts_out() -> None:
    """Masks are drawn on what the LVM is used to being shown."""
    from models.scenes import Scene

    image = torch.rand(3, 60, 70, generator=torch.Generator().manual_seed(0))
    pixels = np.zeros((60, 70, 3), dtype=np.uint8)
    scene = Scene(pixels, image, lvm=None)  # type: ignore[arg-type]
    window = Window(30.3, 20.7, 24)
    bounds = (30.3 - 12, 20.7 - 12, 30.3 + 12, 20.7 + 12)
    torch.testing.assert_close(window.sample(image, 24), scene.crop(bounds, 24), atol=1e-4, rtol=0)


def test_beyond_the_edges_the_image_is_repeated() -> None:
    seen = Window(-200, -200, 10).sample(ramp(), 4)
    assert seen[0].max() <= 0.5 + 1e-4
    assert torch.isfinite(seen).all()


def test_a_reduced_image_is_seen_at_its_scale() -> None:
    seen = Window(100, 80, 40).sample(ramp(), 8, scale=(2.0, 2.0))
    assert seen[0].mean().item() == pytest.approx(50, abs=0.01)
    assert seen[1].mean().item() == pytest.approx(40, abs=0.01)


@pytest.mark.parametrize(("x", "y"), [(50.0, 40.0), (3.0, 77.0)])
def test_what_is_pasted_lies_where_it_was(x: float, y: float) -> None:
    image = ramp()
    window = Window(x, y, 32)
    back, (top, left) = window.paste(window.sample(image, 64), 80, 100)
    same = image[:, top : top + back.shape[1], left : left + back.shape[2]]
    inner = np.s_[:, 1:-1, 1:-1]
    torch.testing.assert_close(back[inner], same[inner], atol=0.3, rtol=0)


def test_a_window_beside_the_image_gives_nothing_back() -> None:
    back, _ = Window(500, 500, 32).paste(torch.zeros(1, 8, 8), 80, 100)
    assert back.numel() == 0


def test_around_a_turned_box() -> None:
    window = Window.around(Box(50, 40, 20, 10, 90.0), 1.5)
    assert (window.x, window.y, window.side) == pytest.approx((45, 50, 30))
