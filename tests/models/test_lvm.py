from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.images import Preprocessing
from models.lvm import LVM, LVMConfig, LVMError, resized

SIZE = 64


def small_config(**changes: object) -> LVMConfig:
    fields: dict[str, object] = {
        "image_size": SIZE,
        "window": 4,
        "width": 8,
        "depths": (2, 2, 2, 2),
        "heads": (2, 2, 2, 2),
        "preprocessing": Preprocessing(kind="rgb8", size=SIZE),
    }
    return LVMConfig(**(fields | changes))  # type: ignore[arg-type]


def small_lvm(seed: int = 0, **changes: object) -> LVM:
    torch.manual_seed(seed)
    return LVM(small_config(**changes))


def images(n: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def test_shapes_of_embedding_pyramid_and_reconstruction() -> None:
    lvm = small_lvm(pooling=("mean2", "std2", "mean3"))
    encoding = lvm.encode(images())
    assert encoding.pooled.shape == (3, lvm.dimension) == (3, 32 + 32 + 64)
    assert [tuple(level.shape) for level in encoding.pyramid] == [
        (3, 8, 16, 16),
        (3, 16, 8, 8),
        (3, 32, 4, 4),
        (3, 64, 2, 2),
    ]
    assert lvm.reconstruct(images()).shape == (3, 3, SIZE, SIZE)


def test_pooling_is_what_its_names_say() -> None:
    lvm = small_lvm(pooling=("mean1", "std3"))
    encoding = lvm.encode(images())
    mean = encoding.pyramid[1].flatten(2).mean(2)
    spread = encoding.pyramid[3].flatten(2).std(2, correction=0)
    torch.testing.assert_close(encoding.pooled, torch.cat([mean, spread], dim=1))


def test_images_of_a_batch_do_not_see_each_other() -> None:
    lvm, batch = small_lvm(), images(4)
    whole = lvm.encode(batch).pooled
    alone = torch.cat([lvm.encode(image[None]).pooled for image in batch])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)


def test_eight_views_make_the_embedding_blind_to_turns_and_mirrors() -> None:
    lvm, batch = small_lvm(views=8), images()
    turned = torch.rot90(batch, 1, (2, 3)).flip(2)
    torch.testing.assert_close(lvm.encode(batch).pooled, lvm.encode(turned).pooled)
    single = small_lvm(views=1)
    assert not torch.allclose(single.encode(batch).pooled, single.encode(turned).pooled, atol=1e-4)


def test_shifted_windows_do_not_join_opposite_edges() -> None:
    """A change at one edge must not reach the other edge through the roll of a single stage."""
    torch.manual_seed(0)
    lvm = LVM(small_config(depths=(2,), heads=(2,), pooling=("mean0",), decoder=False))
    changed = images(1)
    changed[:, :, :4] += 0.5  # the first row of tokens
    difference = (lvm.encode(images(1)).pyramid[0] - lvm.encode(changed).pyramid[0]).abs()
    rows = difference.amax(dim=(0, 1, 3))
    assert rows[0] > 1e-3
    assert rows[-2:].max() < 1e-6


def test_one_convolution_does_what_the_two_of_the_paper_do() -> None:
    encoder = small_lvm().encoder
    torch.nn.init.normal_(encoder.stem.bias)
    with torch.no_grad():
        fused = encoder._embed(images())
        encoder.exact = True
        torch.testing.assert_close(fused, encoder._embed(images()), rtol=1e-4, atol=1e-5)


def test_usual_attention_scale_is_one_over_the_root_of_the_channels_per_head() -> None:
    # One stage only: channels per head differ from stage to stage, a stated scale does not.
    one = {"depths": (2,), "heads": (2,), "pooling": ("mean0",)}
    usual, stated = small_lvm(**one), small_lvm(attention_scale=0.5, **one)
    stated.load_weights(usual.state_dict(), "a test")
    torch.testing.assert_close(
        usual.encode(images()).pooled, stated.encode(images()).pooled, rtol=1e-4, atol=1e-5
    )


def test_saved_and_read_again_it_is_the_same(tmp_path: Path) -> None:
    lvm = small_lvm()
    lvm.save_pretrained(tmp_path / "lvm")
    again = LVM.from_pretrained(tmp_path / "lvm")
    assert again.identity == lvm.identity
    assert again.config == lvm.config
    assert torch.equal(again.encode(images()).pooled, lvm.encode(images()).pooled)
    assert torch.equal(again.reconstruct(images()), lvm.reconstruct(images()))


def test_half_precision_storage_is_half_as_large_and_keeps_its_identity(tmp_path: Path) -> None:
    lvm = small_lvm()
    lvm.save_pretrained(tmp_path / "full")
    lvm.save_pretrained(tmp_path / "half", half=True)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    first = LVM.from_pretrained(tmp_path / "half")
    first.save_pretrained(tmp_path / "again", half=True)
    assert LVM.from_pretrained(tmp_path / "again").identity == first.identity


def test_identity_follows_weights_and_configuration() -> None:
    lvm = small_lvm()
    assert lvm.identity == small_lvm().identity
    others = [small_lvm(seed=1), small_lvm(views=4), small_lvm(pooling=("mean2",))]
    assert len({lvm.identity, *(other.identity for other in others)}) == 4


def test_resized_keeps_what_it_computes_where_nothing_changes() -> None:
    lvm = small_lvm()
    assert resized(lvm, SIZE).identity == lvm.identity
    larger = resized(lvm, 128)
    assert larger.config.preprocessing.size == 128
    assert larger.encode(torch.rand(1, 3, 128, 128)).pooled.shape == (1, lvm.dimension)


@pytest.mark.parametrize(
    "changes",
    [
        {"heads": (3, 2, 2, 2)},
        {"heads": (2, 2, 2)},
        {"depths": ()},
        {"depths": (2, 2, 10**9, 2)},
        {"width": 10**6},
        {"image_size": 66},
        {"window": 5},
        {"views": 3},
        {"pooling": ()},
        {"pooling": ("mean7",)},
        {"pooling": ("median1",)},
        {"patch": 8},
        {"attention_scale": float("nan")},
        {"preprocessing": Preprocessing(kind="rgb8", size=32)},
    ],
)
def test_configurations_that_cannot_be_built_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(LVMError, match="cannot be built"):
        small_config(**changes)


def test_wrong_input_is_refused() -> None:
    lvm = small_lvm(decoder=False)
    with pytest.raises(LVMError, match=r"takes images \[n, 3, 64, 64\], not \[1, 3, 32, 32\]"):
        lvm.encode(torch.rand(1, 3, 32, 32))
    with pytest.raises(LVMError, match="not finite"):
        lvm.encode(images() / 0)
    with pytest.raises(LVMError, match="no decoder"):
        lvm.reconstruct(images())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "holds no config.json"),
        ("{", "cannot be read"),
        ("[]", "must be a JSON object"),
        ('{"width": "wide"}', "wrong type"),
        ('{"depths": 3}', "wrong type"),
        ('{"preprocessing": {"kind": "guess"}}', "wrong type|cannot be used"),
        ('{"preprocessing": 5}', "wrong type"),
        ('{"__class__": "os.system"}', "no field named __class__"),
        ("[" * 100_000, "cannot be read"),
        (" " * (1 << 21), "too large"),
    ],
)
def test_broken_configurations_are_named(tmp_path: Path, content: str | None, said: str) -> None:
    small_lvm().save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(LVMError, match=said):
        LVM.from_pretrained(tmp_path)


def test_broken_weights_are_named(tmp_path: Path) -> None:
    small_lvm().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    name = "encoder.norm.weight"
    whole = {key: values.clone() for key, values in load_file(path).items()}  # not mapped

    def refused(said: str) -> None:
        with pytest.raises(LVMError, match=said):
            LVM.from_pretrained(tmp_path)

    path.write_bytes(path.read_bytes()[:-100])
    refused("cannot be read")
    path.write_bytes(b"\xff" * 64)
    refused("cannot be read")
    path.write_bytes(b"")
    refused("cannot be read")
    path.unlink()
    refused("holds no model.safetensors")
    save_file({k: v for k, v in whole.items() if k != name}, path)
    refused(f"lacks the entry {name}")
    save_file(whole | {"extra": torch.zeros(1)}, path)
    refused("has an entry extra")
    save_file(whole | {name: torch.zeros(3)}, path)
    refused(rf"{name} has shape \[3\], not \[64\]")
    save_file(whole | {name: torch.full((64,), torch.nan)}, path)
    refused(f"{name} holds values that are not finite")
    save_file(whole | {name: torch.zeros(64, dtype=torch.int32)}, path)
    refused(f"{name} holds torch.int32")


def test_identity_is_the_same_in_another_process(tmp_path: Path) -> None:
    lvm = small_lvm()
    lvm.save_pretrained(tmp_path)
    code = (
        "import sys; from models.lvm import LVM; print(LVM.from_pretrained(sys.argv[1]).identity)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"},
        cwd=Path(__file__).parents[2],
    )
    assert answer.stdout.strip() == lvm.identity
    assert json.loads((tmp_path / "config.json").read_text())["width"] == 8
