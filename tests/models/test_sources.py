"""One loader for every encoder: the shipped LVM, a folder of ours or theirs, a name on the hub."""

from __future__ import annotations

import os
from pathlib import Path

import huggingface_hub
import pytest
from encoder_folders import change_json, save_encoder, write_json

from models.hugging_face import HuggingFaceEncoder
from models.lvm import LVM, LVMConfig
from models.preprocessing import Preprocessing
from models.sources import DEFAULT_FOLDER, check_lvm, find_folder, load_lvm
from models.sunet import LVMError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tiny_lvm() -> LVM:
    preprocessing = Preprocessing("rgb8", 32)
    stages = {"depths": (1, 1), "heads": (1, 1), "pooling": ("mean1",)}
    return LVM(LVMConfig(32, width=8, preprocessing=preprocessing, **stages))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache on this machine, holding someone/tiny; nothing can be downloaded."""
    repository = tmp_path / "cache" / "models--someone--tiny"
    save_encoder(repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return repository / "snapshots" / COMMIT


def test_what_lies_in_a_folder_decides_what_it_is(tmp_path: Path) -> None:
    assert load_lvm().identity == load_lvm("").identity == load_lvm(DEFAULT_FOLDER).identity
    ours = tiny_lvm()
    ours.save_pretrained(tmp_path / "ours")
    assert load_lvm(tmp_path / "ours").identity == ours.identity
    assert load_lvm(str(tmp_path / "ours")).can_reconstruct
    assert isinstance(load_lvm(save_encoder(tmp_path / "theirs")), HuggingFaceEncoder)


def test_a_name_on_the_hub_is_found_in_its_cache(cache: Path) -> None:
    expected = load_lvm(cache).identity
    for name in ("hub:someone/tiny", f"hub:someone/tiny@{COMMIT}", "hub:someone/tiny@main"):
        assert load_lvm(name).identity == expected
        check_lvm(name)
    assert find_folder("hub:someone/tiny") == cache


def test_what_the_hub_does_not_give_is_named(cache: Path) -> None:
    for name in ("hub:someone/other", "hub:someone/tiny@v2"):
        with pytest.raises(LVMError, match=f"{name} cannot be fetched"):
            load_lvm(name)
        with pytest.raises(LVMError, match=r"is not on this machine.*galaxyloop import-lvm"):
            check_lvm(name)


@pytest.mark.parametrize(
    "name", ["hub:", "hub:tiny", "hub:a/b/c", "hub:../../etc", "hub:https://example.org/a", "hub:/"]
)
def test_strange_names_are_refused_before_anyone_is_asked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(LVMError, match="no name on the hub"):
        load_lvm(name)


def test_only_what_is_needed_is_fetched_and_no_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asked = save_encoder(tmp_path / "a"), []

    def fetch(name: str, **options: object) -> str:
        asked.append((name, options))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    load_lvm("hub:someone/tiny@v2")
    [(name, options)] = asked
    assert (name, options["revision"], options["local_files_only"]) == ("someone/tiny", "v2", False)
    patterns = options["allow_patterns"]
    assert isinstance(patterns, list)
    assert all(pattern.endswith((".json", ".safetensors*")) for pattern in patterns)
    check_lvm("hub:someone/tiny")
    assert asked[1][1]["local_files_only"] is True


def test_a_name_without_its_prefix_is_never_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(LVMError, match="write hub:someone/tiny"):
        load_lvm("someone/tiny")
    with pytest.raises(LVMError, match="There is no folder nowhere") as caught:
        load_lvm("nowhere")
    assert "hub:" not in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(LVMError, match="There is no folder"):
        load_lvm(tmp_path / "file")


@pytest.mark.parametrize("check", [load_lvm, check_lvm])
def test_a_folder_that_lacks_something_is_named(tmp_path: Path, check: object) -> None:
    assert callable(check)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(LVMError, match=r"empty holds no config\.json"):
        check(empty)
    for content in ("", "{", "[" * 100_000, "[1]", "null", '{"hidden_size": 3}'):
        (empty / "config.json").write_text(content)
        with pytest.raises(LVMError):
            check(empty)
    os.truncate(empty / "config.json", 2 << 20)
    with pytest.raises(LVMError, match="too large"):
        check(empty)
    folder = save_encoder(tmp_path / "theirs")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(LVMError, match="Nobody says the size, mean, std"):
        check(folder)
    write_json(folder / "preprocessor_config.json", {})
    with pytest.raises(LVMError, match="import-lvm --size --mean --std"):
        check(folder)
    folder = save_encoder(tmp_path / "bare")
    (folder / "model.safetensors").unlink()
    with pytest.raises(LVMError, match=r"holds no model\.safetensors"):
        check(folder)


def test_looking_loads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("loaded")

    monkeypatch.setattr("models.weight_files.load_file", refuse)
    check_lvm(save_encoder(tmp_path / "theirs"))
    check_lvm()
    change_json(tmp_path / "theirs" / "config.json", num_channels=4)
    with pytest.raises(LVMError, match="takes 4 channels"):
        check_lvm(tmp_path / "theirs")
