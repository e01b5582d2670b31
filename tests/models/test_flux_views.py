from __future__ import annotations

import math

import torch

from models.flux_views import flux_views, sky_noise, smeared


def disc(side: int = 64) -> torch.Tensor:
    x = torch.arange(side) - side / 2 + 0.5
    light = torch.exp(-0.5 * (x[:, None] ** 2 + x**2) / 25)
    return 300 * light[None, :, :, None] * torch.tensor([0.5, 1.0, 2.0])


def test_views_are_not_clipped_and_follow_the_seed() -> None:
    stamps = disc().repeat(4, 1, 1, 1) - 3 + torch.randn(4, 64, 64, 3)

    def views(seed: int) -> torch.Tensor:
        return flux_views(stamps, 32, 0.8, torch.Generator().manual_seed(seed))

    assert views(0).shape == (4, 3, 32, 32)
    assert torch.equal(views(0), views(0))
    assert not torch.equal(views(0), views(1))
    assert views(0).min() < 0
    assert views(0).max() > 50
    assert torch.isfinite(views(0)).all()


def test_colours_stay() -> None:
    for seed in range(5):
        view = flux_views(disc(), 32, 0.8, torch.Generator().manual_seed(seed))[0]
        blue, middle, red = view.sum((1, 2)).tolist()
        assert math.isclose(blue / middle, 0.5, rel_tol=0.02)
        assert math.isclose(red / middle, 2.0, rel_tol=0.02)


def test_a_wider_psf_keeps_the_flux() -> None:
    image = disc().permute(0, 3, 1, 2)
    wide = smeared(image, torch.tensor([2.0]))
    torch.testing.assert_close(wide.sum(), image.sum(), rtol=1e-3, atol=0)
    assert wide.max() < 0.9 * image.max()
    # Widths add in squares.
    x = (torch.arange(64) - 31.5) ** 2
    spread = (wide[0, 1].sum(0) @ x) / wide[0, 1].sum()
    assert math.isclose(spread.item(), 25 + 4, rel_tol=0.05)


def test_the_noise_of_the_sky_is_found_beside_a_galaxy() -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = disc(96).permute(0, 3, 1, 2) + 0.5 * torch.randn(1, 3, 96, 96, generator=generator)
    assert torch.allclose(sky_noise(noisy), torch.tensor(0.5), rtol=0.15)
