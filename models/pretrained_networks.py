"""Networks of Hugging Face's transformers, built from a configuration and weights that we read.

transformers is handed both and looks for no file itself: no code from a folder or the hub, no
pickle, no adapter and no download can come of it.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.sunet import LVMError
from models.weight_files import CONFIG_FILE, read_json

# Of no effect on what is computed, or chosen by us: the feature maps, the number format.
DROPPED = frozenset(
    (
        *("architectures", "transformers_version", "dtype", "torch_dtype"),
        *("id2label", "label2id", "num_labels", "problem_type"),
        *("out_features", "out_indices", "stage_names", "reshape_hidden_states"),
        # These name code to be fetched and run.
        *("auto_map", "attn_implementation", "experts_implementation"),
        *("kernel_config", "fusion_config"),
    )
)
BORROWING = (
    *("backbone", "backbone_config", "use_timm_backbone", "use_pretrained_backbone"),
    "quantization_config",
)
# Norms that a backbone puts behind its stages: without weights of their own they only standardise.
FRESH = re.compile(r"hidden_states_norms\..*")
MOST_MAPS = 6


def read_settings(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` without what has no effect, or could fetch and run code.

    Raises
    ------
    LVMError
        It is missing, broken, or describes what cannot be an encoder of our three-channel images.
    """
    path = folder / CONFIG_FILE
    settings = read_json(path)
    if not isinstance(settings, dict) or not isinstance(settings.get("model_type"), str):
        raise LVMError(f"{path} names no model_type, so it is of no Hugging Face network.")
    borrowed = ["model_type"] if settings["model_type"].startswith("timm") else []
    for name in (*borrowed, *BORROWING):
        if settings.get(name):
            raise LVMError(
                f"{path} sets {name} to {str(settings[name])[:80]!r}: networks that are quantised, "
                "or built around another model, are not supported. Give a plain encoder's folder."
            )
    if settings.get("num_channels", 3) != 3:
        raise LVMError(f"{path}: the network takes {settings['num_channels']!r} channels, not 3.")
    return _without(settings)


def _without(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if name not in DROPPED and not name.startswith("_")
    }


def load_network(folder: Path, settings: dict[str, Any], state: dict[str, Tensor]) -> nn.Module:
    """Build the network that the settings describe, with exactly these weights.

    Parameters
    ----------
    folder : Path
        Named in errors only.
    settings : dict
        Of `read_settings`.
    state : dict of str to Tensor
        Of `read_weights`; a classification head in it is left out.

    Returns
    -------
    PreTrainedModel
        The backbone of its type where transformers has one, else the bare model; float32.

    Raises
    ------
    LVMError
        It is no vision encoder, or weights (named) are missing or misshapen.
    """
    # Slow to import, and not needed by those who use our own LVM.
    from transformers import CONFIG_MAPPING, MODEL_FOR_BACKBONE_MAPPING, MODEL_MAPPING

    kind = settings["model_type"]
    path = folder / CONFIG_FILE
    if kind not in CONFIG_MAPPING:
        raise LVMError(
            f"{path}: the installed transformers knows no model_type {kind[:80]!r}. Networks that "
            "bring their own code are not supported; a newer transformers may know it."
        )
    layers = settings.get("depths", settings.get("num_hidden_layers", 0))
    for count in layers if isinstance(layers, list) else [layers]:
        if isinstance(count, int) and count > len(state):
            raise LVMError(f"{path} asks for {count} layers; the weights are of far fewer.")
    try:
        config = CONFIG_MAPPING[kind].from_dict(deepcopy(settings))
        mapping: Any = MODEL_FOR_BACKBONE_MAPPING
        if type(config) in mapping:
            stem = config.stage_names[0] == "stem"
            stages = chosen_stages(len(config.stage_names) - stem)
            config.out_indices = [index - (not stem) for index in stages]
            if hasattr(config, "reshape_hidden_states"):
                config.reshape_hidden_states = False  # we keep the class token
        elif type(config) in MODEL_MAPPING:
            mapping = MODEL_MAPPING
        else:
            raise LVMError(f"{path}: transformers has no plain {kind} network.")
        family = mapping[type(config)]
        if isinstance(family, list | tuple):
            family = family[0]
        if family.main_input_name != "pixel_values":
            raise LVMError(
                f"{path}: {kind} is no vision encoder (it takes {family.main_input_name}). "
                "Give the folder of one."
            )
        # Its poolers are not used, and mostly not among the weights.
        plain = "add_pooling_layer" in inspect.signature(family).parameters
        options = {"add_pooling_layer": False} if plain else {}
        _compare_sizes(path, family, config, options, state)
        with _quiet():
            network, found = family.from_pretrained(
                None,
                config=config,
                state_dict=state,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # to name them ourselves
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                **options,
            )
    except LVMError:
        raise
    except Exception as error:
        # transformers checks configurations in many ways; each has its own exception.
        raise LVMError(
            f"{path} describes a {kind} network that cannot be built: {first_line(error)}."
        ) from error
    for name, here, wanted in sorted(found["mismatched_keys"]):
        raise LVMError(
            f"{folder}: the entry {name} has shape {list(here)}, not {list(wanted)} as {path.name} "
            "asks."
        )
    for name in sorted(found["missing_keys"]):
        if not FRESH.fullmatch(name):
            raise LVMError(
                f"The weights in {folder} lack the entry {name}; they are not whole, or are not of "
                f"the {kind} network that {path.name} describes."
            )
    return network


def _compare_sizes(
    path: Path, family: Any, config: Any, options: Mapping[str, Any], state: Mapping[str, Tensor]
) -> None:
    """Refuse a network far larger than its weights before memory is taken for it."""
    with torch.device("meta"):
        wanted = sum(p.numel() for p in family._from_config(config, **options).parameters())
    here = sum(values.numel() for values in state.values())
    if wanted > 2 * here:
        raise LVMError(f"{path} describes a network of {wanted} weights; the folder holds {here}.")


def chosen_stages(count: int) -> list[int]:
    """Which of the stages 1 to `count` give feature maps; the last one always does."""
    if count <= MOST_MAPS:
        return list(range(1, count + 1)) or [0]
    return [count * k // 4 for k in (1, 2, 3, 4)]


def first_line(error: Exception) -> str:
    """Say what went wrong in the words of another library, as far as one line holds them."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {' '.join(lines[:2])[:300]}".rstrip(".: ")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' progress bars and reports off the terminal; what matters, we raise."""
    from transformers.utils import logging as reports

    level, bars = reports.get_verbosity(), reports.is_progress_bar_enabled()
    reports.set_verbosity(logging.CRITICAL)
    reports.disable_progress_bar()
    try:
        yield
    finally:
        reports.set_verbosity(level)
        if bars:
            reports.enable_progress_bar()
