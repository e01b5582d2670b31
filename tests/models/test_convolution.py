from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import ResNetBackbone, ResNetConfig

from models.batches import Batches
from models.devices import Processes
from models.frame import Frame
from models.images import Preprocessing, encode_png
from models.learner import Learner
from models.lvm import LVM, LVMConfig, LVMError, resized
from models.mixture import Mixture, open_mixture
from models.pretraining import run_pretraining
from models.schedule import Schedule
from models.simulation import simulate
from models.stamp_sources import SourceName
from models.trainer import Trainer

SIZE = 64
CONFIG = LVMConfig(
    image_size=SIZE,
    window=4,
    width=8,
    blocks="convolution",
    depths=(2, 2, 2),
    heads=(2, 2, 2),
    pooling=("mean1", "mean2"),
    preprocessing=Preprocessing(kind="rgb8", size=SIZE, crop=0.6),
)
SCHEDULE = Schedule(
    sizes=((32, 2), (SIZE, 3)), decoder_steps=2, batch=4, simulated=6, save_every=100,
    project=False, reconstruction_weight=1.0,
)  # fmt: skip


def quiet(line: str) -> None:
    """Say nothing."""


def lived(seed: int = 0, **changes: object) -> LVM:
    """An LVM whose batch norms have seen something, so that none is the identity."""
    torch.manual_seed(seed)
    lvm = LVM(replace(CONFIG, **changes))  # type: ignore[arg-type]
    for module in norms(lvm):
        shape = (module.num_features,)
        assert module.running_mean is not None
        assert module.running_var is not None
        module.running_mean.copy_(0.3 * torch.randn(shape))
        module.running_var.copy_(0.5 + torch.rand(shape))
        module.weight.data.copy_(0.5 + torch.rand(shape))
        module.bias.data.copy_(0.2 * torch.randn(shape))
    return lvm


def norms(lvm: LVM) -> Iterator[nn.BatchNorm2d]:
    return (module for module in lvm.encoder.modules() if isinstance(module, nn.BatchNorm2d))


def images(n: int = 3, size: int = SIZE, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))


def same_weights(a: LVM, b: LVM) -> bool:
    states = (a.state_dict(), b.state_dict())
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_shapes_are_those_of_the_encoder_with_attention() -> None:
    convolution, attention = lived(), LVM(replace(CONFIG, blocks="attention"))
    ours, theirs = convolution.encode(images()), attention.encode(images())
    assert ours.pooled.shape == theirs.pooled.shape == (3, 16 + 32)
    assert [level.shape for level in ours.pyramid] == [level.shape for level in theirs.pyramid]
    assert [tuple(level.shape) for level in ours.pyramid] == [
        (3, 8, 16, 16),
        (3, 16, 8, 8),
        (3, 32, 4, 4),
    ]
    inputs, outputs = convolution.encoder(images())
    wanted = attention.encoder(images())
    assert [x.shape for x in inputs] == [x.shape for x in wanted[0]]
    assert [x.shape for x in outputs] == [x.shape for x in wanted[1]]
    assert convolution.reconstruct(images()).shape == (3, 3, SIZE, SIZE)
    with pytest.raises(LVMError, match="no decoder"):
        lived(decoder=False).reconstruct(images())


def test_it_computes_what_the_resnet_of_transformers_does() -> None:
    lvm = lived(decoder=False)
    channels = list(CONFIG.channels)
    theirs = ResNetBackbone(
        ResNetConfig(
            embedding_size=8,
            hidden_sizes=channels,
            depths=[2, 2, 2],
            layer_type="basic",
            out_features=["stem", "stage1", "stage2", "stage3"],
        )
    ).eval()
    state = {}
    for name, values in lvm.encoder.state_dict().items():
        state[named_by_transformers(name)] = values
    missing, unknown = theirs.load_state_dict(state, strict=False)
    assert not unknown
    assert all(name.endswith("num_batches_tracked") for name in missing)
    with torch.inference_mode():
        found = theirs(images()).feature_maps
        stem = lvm.encoder.tokens(images()).permute(0, 3, 1, 2)
    torch.testing.assert_close(stem, found[0], rtol=1e-4, atol=1e-4)
    for ours, wanted in zip(lvm.encode(images()).pyramid, found[1:], strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)


def named_by_transformers(name: str) -> str:
    """Name of one of our weights in a `ResNetBackbone` of basic layers."""
    part, *path, kind, leaf = name.split(".")
    leaf = ("convolution." if kind == "0" else "normalization.") + leaf
    if part == "stem":
        return f"embedder.embedder.{leaf}"
    stage, layer = (int(path[0]) + 1, 0) if part == "merges" else (int(path[0]), int(path[1]))
    if part == "stages" and stage > 0:
        layer += 1
    inner = {"first": "layer.0", "second": "layer.1", "shortcut": "shortcut"}[path[-1]]
    return f"encoder.stages.{stage}.layers.{layer}.{inner}.{leaf}"


def test_images_of_a_batch_do_not_see_each_other() -> None:
    lvm, batch = lived(), images(4)
    whole = lvm.encode(batch).pooled
    alone = torch.cat([lvm.encode(image[None]).pooled for image in batch])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-5)
    lvm.encoder.train()
    assert not torch.allclose(lvm.pool(lvm.encoder(batch)[1]), whole, atol=1e-2)


def test_statistics_of_batch_norms_are_learned_saved_and_used(tmp_path: Path) -> None:
    lvm = lived()
    before = lvm.encode(images()).pooled
    lvm.encoder.train()
    lvm.encoder(2 * images(8, seed=5))
    lvm.eval()
    after = lvm.encode(images()).pooled
    assert not torch.allclose(before, after, atol=1e-3)
    lvm.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert sum(name.endswith("running_var") for name in names) == sum(1 for _ in norms(lvm))
    assert not any("num_batches_tracked" in name for name in names)
    assert torch.equal(LVM.from_pretrained(tmp_path).encode(images()).pooled, after)


def test_saved_and_read_again_it_is_the_same(tmp_path: Path) -> None:
    lvm = lived(views=4)
    lvm.save_pretrained(tmp_path)
    again = LVM.from_pretrained(tmp_path)
    assert (again.config, again.identity) == (lvm.config, lvm.identity)
    assert same_weights(again, lvm)
    assert torch.equal(again.encode(images()).pooled, lvm.encode(images()).pooled)
    assert torch.equal(again.encode(images()).pooled, again.encode(images()).pooled)
    assert torch.equal(again.reconstruct(images()), lvm.reconstruct(images()))
    attention = LVM(replace(CONFIG, blocks="attention"))
    assert attention.identity != lvm.identity
    [statistic, *_] = norms(again)
    assert statistic.running_mean is not None
    statistic.running_mean += 1
    again.__dict__.pop("identity")
    assert again.identity != lvm.identity, "statistics are part of the identity"


def test_half_precision_storage_reads_close(tmp_path: Path) -> None:
    lvm = lived()
    lvm.save_pretrained(tmp_path, half=True)
    found = LVM.from_pretrained(tmp_path).encode(images()).pooled
    torch.testing.assert_close(found, lvm.encode(images()).pooled, rtol=0.02, atol=0.01)


def test_broken_weights_are_named(tmp_path: Path) -> None:
    lvm = lived()
    lvm.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = {key: values.clone() for key, values in load_file(path).items()}  # not mapped
    variance, kernel = "encoder.stem.1.running_var", "encoder.merges.0.first.0.weight"

    def refused(said: str, **changes: Tensor | None) -> None:
        state = {k.replace("__", "."): v for k, v in changes.items()}
        kept = {k: v for k, v in (whole | state).items() if v is not None}
        save_file(kept, path)
        with pytest.raises(LVMError, match=said):
            LVM.from_pretrained(tmp_path)

    def change(name: str, values: Tensor | None) -> dict[str, Tensor | None]:
        return {name.replace(".", "__"): values}

    refused(f"lacks the entry {variance}", **change(variance, None))
    refused(rf"{kernel} has shape \[16, 8, 5, 5\], not \[16, 8, 3, 3\]",
            **change(kernel, torch.zeros(16, 8, 5, 5)))  # fmt: skip
    broken = torch.full((8,), torch.nan)
    refused(f"{variance} holds values that are not finite", **change(variance, broken))
    count = "encoder.stem.1.num_batches_tracked"
    refused(f"has an entry {count}", **change(count, torch.tensor(3)))
    other = LVM(replace(CONFIG, blocks="attention"))
    with pytest.raises(LVMError, match=r"lacks the entry encoder\."):
        lvm.load_weights(other.state_dict(), "the other")


def test_resized_keeps_the_weights() -> None:
    lvm = lived()
    larger = resized(lvm, 128)
    assert larger.config.image_size == 128
    encoders = (lvm.encoder.state_dict(), larger.encoder.state_dict())
    assert all(torch.equal(encoders[0][name], encoders[1][name]) for name in encoders[0])
    assert larger.encode(images(size=128)).pooled.shape == (3, lvm.dimension)
    assert larger.reconstruct(images(size=128)).shape == (3, 3, 128, 128)
    assert same_weights(resized(lvm, SIZE), lvm)


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ("mlp", "blocks must be attention or convolution"),
        ("", "blocks must be attention or convolution"),
        ("Convolution", "blocks must be attention or convolution"),
        (3, "blocks must be attention or convolution"),
        (None, "blocks must be attention or convolution"),
        (["convolution"], "blocks must be attention or convolution"),
        ({"convolution": 1}, "blocks must be attention or convolution"),
    ],
)
def test_blocks_that_do_not_exist_are_refused(blocks: object, said: str) -> None:
    with pytest.raises(LVMError, match=said):
        LVMConfig.from_dict(CONFIG.as_dict() | {"blocks": blocks})


def test_configurations_of_before_are_of_attention() -> None:
    values = CONFIG.as_dict()
    del values["blocks"]
    assert LVMConfig.from_dict(values).blocks == "attention"


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(6):
        (folder / f"{i}.png").write_bytes(encode_png(simulate(rng, size=64).rgb))
    cache = tmp_path_factory.mktemp("cache")
    names = [SourceName(str(folder))]
    return open_mixture(names, Frame.of(CONFIG.preprocessing), 6, 0, cache, quiet)


@pytest.mark.parametrize("stop", [2, 6])
def test_a_stopped_training_ends_with_the_bits_of_an_uninterrupted_one(
    mixture: Mixture, tmp_path: Path, stop: int
) -> None:
    whole = Trainer(CONFIG, SCHEDULE, mixture, tmp_path / "whole", quiet).run()
    Trainer(CONFIG, SCHEDULE, mixture, tmp_path / "parts", quiet).run(until=stop)
    resumed = Trainer(CONFIG, SCHEDULE, mixture, tmp_path / "parts", quiet)
    assert resumed.step == stop
    assert same_weights(resumed.run(), whole)


def test_the_decoder_alone_leaves_weights_and_statistics_of_the_encoder(
    mixture: Mixture, tmp_path: Path
) -> None:
    run = Trainer(CONFIG, SCHEDULE, mixture, tmp_path, quiet)
    first = {k: v.clone() for k, v in run.model.encoder.state_dict().items()}
    run.run(until=SCHEDULE.encoder_steps)
    before = {k: v.clone() for k, v in run.model.encoder.state_dict().items()}
    assert not any(torch.equal(first[k], before[k]) for k in first), "all of it learned"
    run.run()
    after = run.model.encoder.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


def test_processes_agree_on_the_statistics(mixture: Mixture) -> None:

    class Pair(Processes):
        """Stands for two processes, of which the other one's statistics are all 0."""

        def gather(self, rows: Tensor) -> Tensor:
            return torch.cat([rows, rows])

        def add(self, tensors: list[Tensor]) -> None:
            """Nothing is added."""

    schedule = replace(SCHEDULE, sizes=((SIZE, 3),), parts=2, reconstruction_weight=0.0)
    batch = Batches(mixture, schedule, 0, 2)[0]
    learners = []
    for kind in (Pair(torch.device("cpu"), 0, 2), Pair(torch.device("cpu"), 0, 1)):
        torch.manual_seed(0)
        learners.append(Learner(LVM(CONFIG), schedule, kind))
        learners[-1].encoder_gradients(batch)
    for shared, own in zip(norms(learners[0].model), norms(learners[1].model), strict=True):
        assert shared.running_var is not None
        assert own.running_var is not None
        torch.testing.assert_close(shared.running_var, own.running_var / 2)


def test_parts_of_a_batch_are_told_about(mixture: Mixture, tmp_path: Path) -> None:
    said: list[str] = []
    schedule = replace(SCHEDULE, parts=2)
    Trainer(CONFIG, schedule, mixture, tmp_path / "a", said.append)
    assert any("batch norms of convolutions see each of the 2 parts" in line for line in said)
    for config, parts in ((CONFIG, 1), (replace(CONFIG, blocks="attention"), 2)):
        said.clear()
        Trainer(config, replace(SCHEDULE, parts=parts), mixture, tmp_path / "b", said.append)
        assert not any("batch norms" in line for line in said)


def test_from_simulated_galaxies_to_an_lvm(tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, sizes=((SIZE, 2),), decoder_steps=1, project=True)
    lvm = run_pretraining(["simulated"], tmp_path, CONFIG, schedule, quiet)
    again = LVM.from_pretrained(tmp_path / "lvm")
    assert again.identity == lvm.identity
    assert torch.equal(again.encode(images()).pooled, lvm.encode(images()).pooled)
