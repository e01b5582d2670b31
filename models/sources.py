"""Where an LVM comes from: the one we ship, a folder, or the hub if a person names it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.lvm import LVM
from models.sunet import LVMConfig, LVMError
from models.vision_encoder import VisionEncoder
from models.weight_files import CONFIG_FILE, read_json, weight_files

DEFAULT_FOLDER = Path(__file__).parent / "weights" / "default"
HUB = "hub:"
HUB_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
HUB_FILES = ("config.json", "preprocessor_config.json", "galaxyloop.json", "*.safetensors*")


def load_lvm(
    source: str | Path | None = None, changes: Mapping[str, Any] | None = None
) -> VisionEncoder:
    """Load an encoder, ready to encode.

    Parameters
    ----------
    source : str or path, optional
        A folder of an LVM of ours or of a Hugging Face vision encoder, told apart by its
        ``config.json``; or ``hub:OWNER/NAME`` or ``hub:OWNER/NAME@REVISION``, which may download
        it. By default the LVM that ships with the package.
    changes : mapping, optional
        For Hugging Face encoders: pooling, views, or fields of `Preprocessing` to use instead of
        what the folder says.

    Returns
    -------
    VisionEncoder
        An `LVM` or a `HuggingFaceEncoder`.

    Raises
    ------
    LVMError
        There is none, or it cannot be used; the file or entry is named.
    """
    folder = find_folder(source, download=True)
    if not _is_hugging_face(folder):
        if changes:
            raise LVMError(
                f"{folder} is no Hugging Face network: what it does to images is part of it and "
                f"cannot be changed ({', '.join(changes)})."
            )
        return LVM.from_pretrained(folder)
    from models.hugging_face import HuggingFaceEncoder

    return HuggingFaceEncoder.from_pretrained(folder, changes)


def check_lvm(source: str | Path | None = None) -> None:
    """Look whether an encoder is there and described, without loading or downloading anything.

    Raises
    ------
    LVMError
        What `load_lvm` would say of the files besides the weights.
    """
    folder = find_folder(source, download=False)
    if _is_hugging_face(folder):
        from models.pretrained_networks import read_settings
        from models.recipe import Recipe

        read_settings(folder)
        Recipe.of_folder(folder)
    else:
        LVMConfig.from_dict(read_json(folder / CONFIG_FILE))
    weight_files(folder)


def find_folder(source: str | Path | None, download: bool = False) -> Path:
    """Return the folder that a source means.

    Parameters
    ----------
    source : str or path, optional
        As in `load_lvm`.
    download : bool
        Whether what the hub has may be fetched; otherwise only what was fetched before is found.

    Raises
    ------
    LVMError
        There is no such folder, or the hub does not give it.
    """
    name = str(source or DEFAULT_FOLDER)
    if name.startswith(HUB):
        return _from_hub(name.removeprefix(HUB), download)
    folder = Path(name)
    if not folder.is_dir():
        hint = f" If you mean the network of that name on the hub, write {HUB}{name}."
        raise LVMError(
            f"There is no folder {name}; give the folder of an LVM or of a Hugging Face vision "
            f"encoder.{hint if HUB_NAME.fullmatch(name) else ''}"
        )
    return folder


def _is_hugging_face(folder: Path) -> bool:
    config = read_json(folder / CONFIG_FILE)
    return isinstance(config, dict) and "model_type" in config


def _from_hub(name: str, download: bool) -> Path:
    repository, _, revision = name.partition("@")
    if not HUB_NAME.fullmatch(repository):
        raise LVMError(f"{HUB}{name[:200]} is no name on the hub; write {HUB}OWNER/NAME.")
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=list(HUB_FILES),
            local_files_only=not download,
        )
    except Exception as error:
        # The hub's client raises its own errors and those of the transport below it.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = (
            "Check the name and the connection, or download it elsewhere and name its folder."
            if download
            else f"Fetch it: `galaxyloop import-lvm {HUB}{name} --out DIR`, and name that folder."
        )
        raise LVMError(
            f"{HUB}{name} {'cannot be fetched' if download else 'is not on this machine'} "
            f"({reason[:300]}). {remedy}"
        ) from error
    return Path(found)
