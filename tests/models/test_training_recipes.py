from __future__ import annotations

import pytest
import torch

from models.lvm import LVM, LVMError
from models.training_recipes import PAPER_CROP, RECIPES, base_recipe, seeing, tiny_recipe


def parameters(name: str) -> int:
    # On the meta device nothing is allocated.
    with torch.device("meta"):
        model = LVM(RECIPES[name]().config)
    return sum(p.numel() for p in model.encoder.parameters()) + sum(
        p.numel() for p in (model.decoder.parameters() if model.decoder else ())
    )


def test_base_is_the_network_of_the_paper() -> None:
    # The released checkpoint has 100.46 million, with layers that take no part.
    assert parameters("base") == pytest.approx(100.46e6, rel=0.01)
    config = base_recipe().config
    assert config.blocks == "attention"
    assert (config.width, config.depths, config.heads) == (96, (8,) * 4, (8,) * 4)
    assert round(152 * config.preprocessing.crop) == 128


def test_tiny_has_a_few_million_parameters() -> None:
    assert 2e6 < parameters("tiny") < 6e6


def test_tiny_learns_convolutions_at_one_size_from_as_many_simulated_galaxies_as_real_ones() -> (
    None
):
    for recipe, pixels in ((tiny_recipe(), 96), (tiny_recipe(64), 64)):
        assert recipe.config.blocks == "convolution"
        assert [side for side, _ in recipe.schedule.sizes] == [pixels]
        assert (recipe.schedule.simulated_ratio, recipe.schedule.fall) == (1.0, 0.35)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("blocks", ["attention", "convolution"])
def test_either_recipe_can_be_made_of_either_blocks(name: str, blocks: str) -> None:
    assert RECIPES[name](blocks=blocks).config.blocks == blocks
    with pytest.raises(LVMError, match="blocks must be"):
        RECIPES[name](blocks="mlp")


def test_what_is_seen_is_written_into_the_configuration() -> None:
    config = base_recipe().config
    assert seeing(config, "picture") is config
    flux = seeing(config, "flux", gain=10.0).preprocessing
    assert (flux.kind, flux.stretch, flux.gain, flux.crop) == ("flux", "linear", 10.0, PAPER_CROP)
    assert seeing(config, "asinh").preprocessing.stretch == "asinh"
