"""Hugging Face encoders: the same interface, the network's own numbers, nothing guessed or run."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from encoder_folders import CONFIGS, PLAIN, SIZE, change_json, save_encoder, write_json
from image_files import encoded, picture
from safetensors.torch import load_file, save_file

from models import throughput
from models.hugging_face import HuggingFaceEncoder
from models.images import read_image, to_tensor
from models.sources import load_lvm
from models.sunet import LVMError
from models.throughput import encode_images
from models.vision_encoder import VisionEncoder

MAPS = {
    "swin": [(8, 16), (16, 8), (32, 4), (64, 2)],
    "swinv2": [(8, 16), (16, 8), (32, 4), (64, 2)],
    "convnextv2": [(8, 16), (12, 8), (16, 4), (24, 2)],
    "dinov2": [(16, 4)] * 4,
    "resnet": [(8, 16), (12, 8), (16, 4), (24, 2)],
    "vit": [(16, 4)] * 2,
    "siglip": [(16, 4)] * 2,
}
DIMENSIONS = {
    "swin": 64,
    "swinv2": 64,
    "convnextv2": 24,
    "dinov2": 32,
    "resnet": 24,
    "vit": 32,
    "siglip": 16,
}


def images(count: int, size: int = SIZE) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_kind_keeps_the_contract_of_an_encoder(kind: str, tmp_path: Path) -> None:
    lvm = load_lvm(save_encoder(tmp_path / kind, kind))
    assert isinstance(lvm, VisionEncoder)
    assert lvm.dimension == DIMENSIONS[kind]
    together = lvm.encode(images(3))
    assert together.pooled.shape == (3, lvm.dimension)
    assert together.pooled.dtype == torch.float32
    assert [tuple(level.shape) for level in together.pyramid] == [
        (3, channels, side, side) for channels, side in MAPS[kind]
    ]
    assert torch.isfinite(together.pooled).all()
    assert together.pooled.std(0).median() > 0, "images are told apart"
    for number in range(3):
        alone = lvm.encode(images(3)[number : number + 1]).pooled
        torch.testing.assert_close(alone[0], together.pooled[number], rtol=1e-4, atol=1e-5)
    with pytest.raises(LVMError, match="use to_tensor"):
        lvm.encode(images(1, SIZE // 2))
    with pytest.raises(LVMError, match="not finite"):
        lvm.encode(images(1) * torch.inf)


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_is_saved_is_read_again_as_the_same(kind: str, tmp_path: Path) -> None:
    lvm = load_lvm(save_encoder(tmp_path / "theirs", kind))
    before = lvm.encode(images(2)).pooled
    lvm.save_pretrained(tmp_path / "ours")
    again = load_lvm(tmp_path / "ours")
    assert again.identity == lvm.identity
    assert torch.equal(again.encode(images(2)).pooled, before)
    again.save_pretrained(tmp_path / "ours")
    assert load_lvm(tmp_path / "ours").identity == lvm.identity


def test_the_identity_follows_weights_and_recipe_only(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "a")
    identity = load_lvm(folder).identity
    change_json(folder / "config.json", transformers_version="4.0.0", id2label={"0": "cat"})
    assert load_lvm(folder).identity == identity
    others = {
        identity,
        load_lvm(save_encoder(tmp_path / "b", seed=1)).identity,
        load_lvm(folder, {"mean": (0.0, 0.0, 0.0)}).identity,
        load_lvm(folder, {"pooling": ("mean3", "std3")}).identity,
        load_lvm(folder, {"views": 4}).identity,
    }
    assert len(others) == 5


@pytest.mark.parametrize("kind", ["swin", "swinv2", "convnextv2"])
def test_feature_maps_are_those_of_the_backbone(kind: str, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / kind, kind)
    family = transformers.MODEL_FOR_BACKBONE_MAPPING[type(CONFIGS[kind]())]
    backbone = family.from_pretrained(folder, out_indices=[1, 2, 3, 4]).eval()
    with torch.inference_mode():
        expected = backbone(images(2)).feature_maps
    encoding = load_lvm(folder).encode(images(2))
    for ours, theirs in zip(encoding.pyramid, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(encoding.pooled, expected[-1].mean((2, 3)))


@pytest.mark.parametrize("kind", ["dinov2", "vit"])
def test_class_token_and_patches_are_those_of_the_model(kind: str, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / kind, kind)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        tokens = model(images(2)).last_hidden_state
    encoding = load_lvm(folder).encode(images(2))
    expected = torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=1)
    torch.testing.assert_close(encoding.pooled, expected)
    # Patches run along the rows of the image.
    torch.testing.assert_close(encoding.pyramid[-1][0, :, 1, 2], tokens[0, 1 + 4 + 2])


def test_a_checkpoint_with_a_classification_head_gives_its_encoder(tmp_path: Path) -> None:
    bare = save_encoder(tmp_path / "bare", "dinov2")
    torch.manual_seed(0)
    whole = transformers.Dinov2ForImageClassification(CONFIGS["dinov2"]())
    whole.dinov2.load_state_dict(transformers.AutoModel.from_pretrained(bare).state_dict())
    whole.save_pretrained(tmp_path / "whole")
    (tmp_path / "whole" / "preprocessor_config.json").write_bytes(
        (bare / "preprocessor_config.json").read_bytes()
    )
    expected = load_lvm(bare).encode(images(2)).pooled
    assert torch.equal(load_lvm(tmp_path / "whole").encode(images(2)).pooled, expected)


def test_half_precision_and_shards_are_read(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "a")
    state = load_file(folder / "model.safetensors")
    names = sorted(state)
    (folder / "model.safetensors").unlink()
    index = {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        save_file({name: state[name].half() for name in part}, folder / file)
        index.update(dict.fromkeys(part, file))
    write_json(folder / "model.safetensors.index.json", {"weight_map": index})
    lvm = load_lvm(folder)
    assert {values.dtype for values in lvm.parameters()} == {torch.float32}
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(LVMError, match="lacks model-00002-of-00002"):
        load_lvm(folder)
    for name in ("../a.safetensors", "/etc/passwd", "pytorch_model.bin"):
        write_json(folder / "model.safetensors.index.json", {"weight_map": {"x": name}})
        with pytest.raises(LVMError, match="no safetensors file beside it"):
            load_lvm(folder)
    write_json(folder / "model.safetensors.index.json", {"weight_map": []})
    with pytest.raises(LVMError, match="weight_map"):
        load_lvm(folder)


def test_pooling_takes_the_named_parts_in_order(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "a", "dinov2")
    encoding = load_lvm(folder, {"pooling": ("std3", "mean0")}).encode(images(2))
    parts = [
        encoding.pyramid[3].flatten(2).std(2, correction=0),
        encoding.pyramid[0].mean((2, 3)),
    ]
    torch.testing.assert_close(encoding.pooled, torch.cat(parts, dim=1))
    for wrong in (("mean4",), ("median1",), ("class", 3)):
        with pytest.raises(LVMError, match="pooling"):
            load_lvm(folder, {"pooling": wrong})
    with pytest.raises(LVMError, match="no class token"):
        load_lvm(save_encoder(tmp_path / "b"), {"pooling": ("class",)})


def test_views_make_the_embedding_blind_to_turns_and_mirrors(tmp_path: Path) -> None:
    lvm = load_lvm(save_encoder(tmp_path / "a", "vit"), {"views": 8})
    first = lvm.encode(images(2)).pooled
    for same in (torch.rot90(images(2), 1, (2, 3)), images(2).flip(2)):
        torch.testing.assert_close(lvm.encode(same).pooled, first, rtol=1e-4, atol=1e-5)
    with pytest.raises(LVMError, match="views"):
        load_lvm(tmp_path / "a", {"views": 3})


def test_several_threads_may_encode_at_once(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "a", "dinov2")
    batches = images(24).split(3)
    lvm = load_lvm(folder)
    expected = [lvm.encode(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for encoding, alone in zip(
            pool.map(load_lvm(folder).encode, batches), expected, strict=True
        ):
            torch.testing.assert_close(encoding.pooled, alone.pooled, rtol=1e-4, atol=1e-5)
            assert len(encoding.pyramid) == len(alone.pyramid)


def test_there_is_no_decoder_and_it_says_so(tmp_path: Path) -> None:
    lvm = load_lvm(save_encoder(tmp_path / "a"))
    assert not lvm.can_reconstruct
    with pytest.raises(LVMError, match="restoration is not available"):
        lvm.reconstruct(images(1))


def test_pictures_go_the_way_that_the_folder_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "has_fast_bfloat16", lambda device: False)
    lvm = load_lvm(save_encoder(tmp_path / "a"))
    image = read_image(encoded(picture(), "png"))
    [row] = encode_images(lvm, [image])
    tensor = to_tensor(image, lvm.preprocessing)
    assert lvm.preprocessing.mean == pytest.approx((0.485, 0.456, 0.406))
    np.testing.assert_array_equal(row, lvm.encode(tensor[None]).pooled[0].numpy())


def test_nothing_is_asked_of_a_network_of_computers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_encoder(tmp_path / "a")

    def refuse(*_args: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert load_lvm(folder).dimension == 64


class RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    with pytest.raises(LVMError, match=r"holds no model\.safetensors\."):
        load_lvm(folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(RunsCode(tmp_path / "owned")))
    with pytest.raises(LVMError, match=r"pytorch_model\.bin is a pickle"):
        load_lvm(folder)
    assert not (tmp_path / "owned").exists()


def test_code_in_the_folder_or_named_by_it_never_runs(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "a")
    plain = load_lvm(folder).identity
    code = f"import os\nos.mkdir({str(tmp_path / 'owned')!r})\nclass Evil: pass\n"
    (folder / "evil.py").write_text(code)
    change_json(
        folder / "config.json",
        auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil", "AutoBackbone": "evil.Evil"},
        attn_implementation="someone/kernel",
        _attn_implementation="someone/kernel",
        _attn_implementation_internal="someone/kernel",
        kernel_config={"Linear": "someone/kernel:evil"},
    )
    write_json(folder / "adapter_config.json", {"base_model_name_or_path": "someone/else"})
    assert load_lvm(folder).identity == plain
    change_json(folder / "config.json", model_type="evil")
    with pytest.raises(LVMError, match="bring their own code are not supported"):
        load_lvm(folder)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "no-such-type"}, "knows no model_type 'no-such-type'"),
        ({"model_type": 7}, "names no model_type"),
        ({"num_channels": 1}, "takes 1 channels, not 3"),
        ({"embed_dim": "wide"}, "cannot be built"),
        ({"embed_dim": -8}, "cannot be built"),
        ({"hidden_act": "no-such-function"}, "cannot be built"),
        ({"depths": [1]}, r"shape|lack the entry|cannot"),
        ({"depths": [1, 1, 10**9, 1]}, "asks for 1000000000 layers"),
        ({"embed_dim": 10**6}, "describes a network of"),
        ({"embed_dim": 4}, r"the entry .* has shape"),
        ({"depths": [1, 1, 3, 1]}, r"lack the entry .*blocks\.2"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "sets quantization_config"),
        ({"backbone": "microsoft/resnet-50", "use_pretrained_backbone": True}, "sets backbone"),
        ({"model_type": "timm_backbone"}, "sets model_type to 'timm_backbone'"),
    ],
)
def test_configurations_that_do_not_fit_are_named(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    folder = save_encoder(tmp_path / "a")
    change_json(folder / "config.json", **changes)
    with pytest.raises(LVMError, match=message) as caught:
        load_lvm(folder)
    assert str(folder) in str(caught.value)


def test_broken_weights_are_named(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "a")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    state = {name: values.clone() for name, values in load_file(path).items()}
    for content in (b"", b"<html>", whole[: len(whole) // 2], whole[:64]):
        path.write_bytes(content)
        with pytest.raises(LVMError, match=r"model\.safetensors cannot be read"):
            load_lvm(folder)
    name = next(name for name in sorted(state) if name.endswith("layernorm_before.weight"))
    for values, message in (
        (state[name] * torch.nan, "not finite"),
        (state[name].to(torch.int8), "not floats"),
        (state[name][:1], "has shape"),
    ):
        save_file(state | {name: values.contiguous()}, path)
        with pytest.raises(LVMError, match=message) as caught:
            load_lvm(folder)
        assert "layernorm_before.weight" in str(caught.value)
    save_file({key: values for key, values in state.items() if key != name}, path)
    with pytest.raises(LVMError, match=r"lack the entry .*layernorm_before\.weight"):
        load_lvm(folder)


def test_networks_that_are_no_encoders_of_images_are_named(tmp_path: Path) -> None:
    small = {key: value for key, value in PLAIN.items() if not key.endswith("_size")}
    text = transformers.BertConfig(hidden_size=16, intermediate_size=16, vocab_size=50, **small)
    clip = transformers.CLIPConfig(
        text_config={**small, "hidden_size": 16, "intermediate_size": 16, "vocab_size": 50},
        vision_config=PLAIN,
        projection_dim=8,
    )
    cases = (
        (text, "no vision encoder"),
        (clip, "no vision encoder"),
        (transformers.VideoMAEConfig(**PLAIN), "cannot see images of 64 px"),
        (transformers.ViTMAEConfig(**PLAIN), "something else of the same image every time"),
    )
    for config, message in cases:
        folder = tmp_path / config.model_type
        transformers.AutoModel.from_config(config).save_pretrained(folder)
        said = {"size": SIZE, "mean": (0.5,) * 3, "std": (0.5,) * 3}
        with pytest.raises(LVMError, match=message):
            load_lvm(folder, said)


def test_a_size_that_the_network_cannot_take_is_named(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "a", "vit", size={"height": 80, "width": 80})
    with pytest.raises(LVMError, match="cannot see images of 80 px"):
        load_lvm(folder)


def test_our_own_lvm_needs_no_transformers() -> None:
    code = (
        "import sys; from models.sources import load_lvm; load_lvm(); "
        "assert not {'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_changes_of_our_own_lvm_are_refused() -> None:
    with pytest.raises(LVMError, match="cannot be changed"):
        load_lvm(None, {"size": 64})
    assert not isinstance(load_lvm(), HuggingFaceEncoder)


def save_projected(folder: Path, weight: torch.Tensor, bias: torch.Tensor, length: int) -> Path:
    save_encoder(folder, "resnet")
    load_lvm(folder, {"pooling": ["mean3"]}).save_pretrained(folder)
    change_json(folder / "galaxyloop.json", projection=length)
    save_file({"weight": weight, "bias": bias}, folder / "projection.safetensors")
    return folder


def test_a_projection_is_the_last_map_and_part_of_the_identity(tmp_path: Path) -> None:
    weight, bias = torch.randn(5, 24), torch.randn(5)
    lvm = load_lvm(save_projected(tmp_path / "a", weight, bias, 5))
    bare = load_lvm(save_encoder(tmp_path / "b", "resnet"), {"pooling": ["mean3"]})
    assert lvm.dimension == 5
    assert lvm.identity != bare.identity
    expected = bare.encode(images(3)).pooled @ weight.T + bias
    torch.testing.assert_close(lvm.encode(images(3)).pooled, expected, rtol=1e-4, atol=1e-5)
    lvm.save_pretrained(tmp_path / "again")
    assert load_lvm(tmp_path / "again").identity == lvm.identity


@pytest.mark.parametrize(
    ("weight", "bias", "length", "message"),
    [
        (torch.zeros(5, 24), torch.zeros(5), 4, "no linear map to 4"),
        (torch.zeros(5, 24), torch.zeros(4), 5, "no linear map"),
        (torch.zeros(5, 23), torch.zeros(5), 5, "takes 23 numbers, but pooling gives 24"),
        (torch.full((5, 24), torch.nan), torch.zeros(5), 5, "weight holds values"),
        (torch.zeros(5, 24), torch.zeros(5, dtype=torch.int32), 5, "bias holds values"),
        (torch.zeros(5, 24), torch.zeros(5), -1, "projection must be in"),
        (torch.zeros(5, 24), torch.zeros(5), "5", "projection must be in"),
    ],
)
def test_a_projection_that_does_not_fit_is_refused(
    weight: torch.Tensor, bias: torch.Tensor, length: int, message: str, tmp_path: Path
) -> None:
    folder = save_projected(tmp_path / "a", weight, bias, length)
    with pytest.raises(LVMError, match=message):
        load_lvm(folder)


def test_a_projection_file_that_is_missing_or_torn_is_named(tmp_path: Path) -> None:
    folder = save_projected(tmp_path / "a", torch.zeros(5, 24), torch.zeros(5), 5)
    file = folder / "projection.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(LVMError, match=r"projection\.safetensors cannot be read"):
        load_lvm(folder)
    save_file({"weight": torch.zeros(5, 24)}, file)
    with pytest.raises(LVMError, match="lacks the entry bias"):
        load_lvm(folder)
    file.unlink()
    with pytest.raises(LVMError, match=r"holds no projection\.safetensors"):
        load_lvm(folder)
