"""`galaxyloop pretrain` as a process: killed, resumed, in two processes, told nonsense."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from ml_backend.cli import main
from ml_backend.demo.children import free_port
from models.images import encode_png
from models.lvm import LVM
from models.simulation import simulate

# A small network on small images; the terms and phases are those of the recipe, and the joint one.
OPTIONS = (
    "--pixels", "32", "--width", "8", "--steps", "16", "--decoder-steps", "2", "--batch", "4",
    "--simulated", "8", "--reconstruction-weight", "1", "--save-every", "2", "--device", "cpu",
    "--precision", "float32", "--seed", "3",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(6):
        (folder / f"{i}.png").write_bytes(encode_png(simulate(rng, size=64).rgb))
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["pretrain", *map(str, arguments)])


def start(*arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start the command as a process of its own, with as many threads as this one has."""
    command = [sys.executable, *launcher, "-m", "ml_backend.cli", "pretrain", *map(str, arguments)]
    threads = str(torch.get_num_threads())
    return subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": threads}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "lvm" / "model.safetensors")


def test_a_killed_process_is_resumed_to_the_same_bits(folder: Path, tmp_path: Path) -> None:
    source = ("--data", folder, *OPTIONS)
    assert run(*source, "--out", tmp_path / "whole").exit_code == 0
    out = tmp_path / "killed"
    process = start(*source, "--out", out)
    try:
        deadline = time.monotonic() + 240
        while not (out / "training.safetensors").exists():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (out / "lvm").exists()
    finally:
        process.kill()
        process.communicate()
    again = run(*source, "--out", out)
    assert again.exit_code == 0, again.output
    assert "resumed at step" in again.output
    whole, resumed = weights(tmp_path / "whole"), weights(out)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_two_processes_have_the_losses_of_one(folder: Path, tmp_path: Path) -> None:
    # The batch norms of convolutions see the part of a process only.
    attention = ("--blocks", "attention", "--precision", "float32")
    source = ("--data", folder, *OPTIONS, "--steps", "5", "--save-every", "50", *attention)
    one = run(*source, "--out", tmp_path / "one", "--accumulate", "2")
    assert one.exit_code == 0, one.output
    launcher = (
        "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
        "--master-port", str(free_port()),
    )  # fmt: skip
    process = start(*source, "--out", tmp_path / "two", launcher=launcher)
    try:
        output = process.communicate(timeout=240)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, output
    assert output.count("step 7/7") == 1, "one of them speaks"
    tables = [
        list(csv.DictReader((tmp_path / name / "curve.csv").open())) for name in ("one", "two")
    ]
    assert [row["step"] for row in tables[0]] == ["5", "7"]
    for first, second in zip(*tables, strict=True):
        for name in first:
            if first[name]:
                assert float(second[name]) == pytest.approx(float(first[name]), rel=2e-4), name
    assert LVM.from_pretrained(tmp_path / "two" / "lvm").config == (
        LVM.from_pretrained(tmp_path / "one" / "lvm").config
    )


def test_the_recipe_is_what_was_not_given(folder: Path, tmp_path: Path) -> None:
    result = run(
        "--data", f"{folder}:2", "--data", "simulated:2", "--out", tmp_path, "--pixels", "64",
        "--width", "8", "--small-steps", "1", "--steps", "1", "--decoder-steps", "0", "--batch",
        "4", "--simulated", "6", "--precision", "bfloat16", "--mask-ratio", "0.25",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "training.json").read_text())
    schedule, lvm = record["schedule"], record["lvm"]
    assert lvm["blocks"] == "convolution"
    assert schedule["sizes"] == [[32, 1], [64, 1]]
    assert (schedule["rate"], schedule["mask_ratio"], schedule["bfloat16"]) == (1e-3, 0.25, True)
    assert (lvm["width"], lvm["depths"], lvm["preprocessing"]["crop"]) == (8, [2, 2, 2, 2], 0.45)
    assert record["data"][-1] == "simulated 6:2"
    small = ("--pixels", "64", "--small-steps", "0", "--steps", "1")
    again = run(
        "--data", folder, "--out", tmp_path / "b", "--start", tmp_path / "lvm", "--batch", "4",
        "--small-steps", "0", "--steps", "1", "--decoder-steps", "0", "--simulated", "6",
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    assert "simulated 6:1" in json.loads((tmp_path / "b" / "training.json").read_text())["data"]
    refused = run("--data", folder, "--out", tmp_path / "c", "--start", tmp_path / "lvm", *small)
    assert (refused.exit_code, "leave out --pixels" in refused.output) == (2, True)
    blocks = ("--start", tmp_path / "lvm", "--blocks", "attention")
    refused = run("--data", folder, "--out", tmp_path / "c", *blocks)
    assert (refused.exit_code, "--blocks" in refused.output) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--data", "nowhere"), 1, "There is no folder or file 'nowhere'"),
        (("--data", "{folder}:-2"), 1, "must be a number above 0"),
        (("--data", "{folder}:nan"), 1, "must be a number above 0"),
        (("--data", "{folder}", "--data", "{folder}"), 1, "is named twice"),
        (("--data", "{empty}"), 1, "No image can be read"),
        (("--data", "{folder}"), 1, "takes 64 different stamps of source 1, which holds 6"),
        (("--data", "{folder}", "--input", "flux", "--batch", "4"), 1, "No image can be read"),
        (("--data", "{folder}", "--batch", "5", "--accumulate", "2"), 2, "divide the batch"),
        (("--data", "{folder}", "--pixels", "50"), 2, "multiple of"),
        (("--data", "{folder}", "--steps", "0", "--small-steps", "0"), 2, "at least one side"),
        (("--data", "{folder}", "--start", "{empty}"), 2, "holds no config.json"),
        (("--data", "{folder}", "--blocks", "mlp"), 2, "'mlp' is not one of"),
        (("--data", "{folder}", "--device", "toaster"), 2, "There is no device"),
        (("--data", "{folder}", "--device", "cuda:99"), 2, "There is no device cuda:99"),
        (("--data", "{folder}", "--mask-ratio", "1"), 2, "mask-ratio"),
        (("--data", "{folder}", "--rate", "nan"), 2, "rate and temperature must be above 0"),
        (("--data", "{folder}", "--contrast-weight", "nan"), 2, "weights must be"),
        ((), 2, "--data"),
    ],
)
def test_it_says_what_is_wrong(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    (tmp_path / "empty").mkdir()
    filled = [item.format(folder=folder, empty=tmp_path / "empty") for item in arguments]
    result = run(*filled, "--out", tmp_path / "out", "--simulated", "4")
    assert (result.exit_code, told in result.output) == (code, True), result.output
    assert "Traceback" not in result.output
