"""Bulk encoding: the file, its failures, and going on after a kill."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_ins import Sky, settings_of, sky, tiny_lvm

from ml_backend.bulk.items import Source, source_of
from ml_backend.bulk.journal import JournalError
from ml_backend.bulk.run import BulkOptions, BulkReport, encode_source
from models.images import read_image, to_tensor
from models.lvm import LVM


def fill(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, address in enumerate(sky(count)):
        (folder / f"g{number:03}.png").write_bytes(Sky().fetch(address))
    return folder


def run(
    source: Source, out: Path, lvm: LVM | None = None, restart: bool = False, progress: Any = None
) -> BulkReport:
    settings = settings_of(out.parent / "data", image_timeout=2)
    more = (progress,) if progress else ()
    return encode_source(source, lvm or tiny_lvm(), settings, BulkOptions(out, restart), *more)


def failures(out: Path) -> list[list[str]]:
    with open(BulkOptions(out).failed, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_file_holds_ids_and_embeddings_in_the_order_of_the_source(tmp_path: Path) -> None:
    images, out, seen = fill(tmp_path / "images", 40), tmp_path / "sub" / "e.npz", []
    report = run(source_of(images), out, progress=lambda done, total: seen.append((done, total)))
    assert (report.encoded, report.resumed, report.failed) == (40, 0, [])
    assert seen == [(0, 40), (32, 40), (40, 40)]
    with np.load(out, allow_pickle=False) as kept:
        assert set(kept.files) == {"id", "embedding"}
        assert kept["id"].tolist() == [f"g{number:03}" for number in range(40)]
        assert kept["id"].dtype.kind == "U"
        assert kept["embedding"].dtype == np.float32
        assert kept["embedding"].shape == (40, tiny_lvm().dimension)
        for place in (0, 17, 39):
            image = read_image((images / f"g{place:03}.png").read_bytes())
            tensor = to_tensor(image, tiny_lvm().config.preprocessing)
            alone = tiny_lvm().encode(tensor[None]).pooled[0].numpy()
            # bfloat16, where the hardware has it, rounds by about half a percent.
            error = np.linalg.norm(kept["embedding"][place] - alone)
            assert error < 0.02 * np.linalg.norm(alone)
    assert left(out.parent) == {"e.npz"}


def test_what_cannot_be_read_is_listed_and_costs_nobody_else(tmp_path: Path, stand_in: Any) -> None:
    images = fill(tmp_path / "images", 3)
    (images / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(50))
    (images / "empty.fits").write_bytes(b"")
    os.mkfifo(images / "pipe.png")
    (tmp_path / "c.csv").write_text(
        "id,path\n1,images/g000.png\n2,gone.png\n3,images/broken.jpg\n4,ftp://h/a.png\n"
        f"5,file:///etc/passwd\n6,images/empty.fits\n7,images\n8,images/pipe.png\n,x.png\n"
        f"9,{stand_in.url}/missing.png\n10,http://[bad/x.png\n11,data:image/png;base64;AA\n"
        f"12,images/../images/g001.png\n13,{images / 'g002.png'}\n",
        encoding="utf-8",
    )
    out = tmp_path / "e.npz"
    report = run(source_of(tmp_path / "c.csv"), out)
    assert report.encoded == 3
    assert np.load(out)["id"].tolist() == ["1", "12", "13"]
    reasons = {row[0]: row[2] for row in failures(out)}
    assert list(reasons) == ["2", "3", "4", "5", "6", "7", "8", "", "9", "10", "11"]
    for key, part in {
        "2": "does not exist",
        "3": "broken or cut short",
        "4": "not read from ftp: addresses",
        "5": "not read from file: addresses",
        "6": "empty (0 bytes)",
        "7": "no regular file",
        "8": "no regular file",
        "": "no id",
        "9": "answered 404",
        "10": "no valid address",
        "11": "not read from data: addresses",
    }.items():
        assert part in reasons[key], (key, reasons[key])
    (tmp_path / "good.csv").write_text("id,path\n1,images/g000.png\n")
    run(source_of(tmp_path / "good.csv"), out)
    assert not BulkOptions(out).failed.exists(), "an old list of failures must not stay"


def test_hosts_that_the_catalogue_names_are_asked_and_others_only_in_public(
    tmp_path: Path, stand_in: Any, second_server: Any, reply: Any
) -> None:
    data = Sky().fetch(sky(1)[0])
    stand_in.handler = lambda call: (
        reply(302, headers={"Location": second_server.url + "/x.png"})
        if call.path == "/away"
        else reply(200, data)
    )
    second_server.handler = lambda call: reply(200, data)
    (tmp_path / "c.csv").write_text(
        f"id,url\n1,{stand_in.url}/a?ra=1&dec=2\n2,{stand_in.url}/away\n"
    )
    report = run(source_of(tmp_path / "c.csv"), tmp_path / "e.npz")
    assert report.encoded == 1
    assert [item.id for item, _ in report.failed] == ["2"]
    assert second_server.calls == [], "a redirect may not lead into a private network"


def test_nothing_encoded_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("id,path\n1,gone.png\n")
    out = tmp_path / "e.npz"
    report = run(source_of(tmp_path / "c.csv"), out)
    assert report.encoded == 0
    assert left(tmp_path) == {"c.csv", "e.failed.csv"}


def stopped_after(count: int) -> Any:
    def progress(done: int, _total: int) -> None:
        if done >= count:
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_run_goes_on_and_tries_failures_again(tmp_path: Path) -> None:
    images = fill(tmp_path / "images", 150)
    (images / "g003.png").write_bytes(b"not yet an image")
    whole, out = tmp_path / "whole.npz", tmp_path / "e.npz"
    with pytest.raises(KeyboardInterrupt):
        run(source_of(images), out, progress=stopped_after(64))
    assert not out.exists()
    (images / "g003.png").write_bytes((images / "g004.png").read_bytes())
    (images / "g005.png").write_bytes((images / "g006.png").read_bytes() + b"\0")
    os.remove(images / "g007.png")
    (images / "g007.png").symlink_to(images / "gone.png")
    seen: list[int] = []
    report = run(source_of(images), out, progress=lambda done, total: seen.append(done))
    assert (report.encoded, report.resumed, report.failed) == (150, 62, [])
    assert seen[0] == 62
    assert seen[-1] == 150
    run(source_of(images), whole)
    kept, fresh = np.load(out), np.load(whole)
    rows = dict(zip(kept["id"], kept["embedding"], strict=True))
    assert kept["id"].tolist() == [f"g{number:03}" for number in range(150)]
    np.testing.assert_allclose(rows["g003"], rows["g004"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rows["g005"], rows["g006"], rtol=1e-4, atol=1e-5)
    assert "g007" not in fresh["id"], "it was encoded before it went, and that stays right"


def test_progress_of_something_else_is_never_taken_nor_thrown_away(tmp_path: Path) -> None:
    images, out = fill(tmp_path / "images", 70), tmp_path / "e.npz"
    with pytest.raises(KeyboardInterrupt):
        run(source_of(images), out, progress=stopped_after(32))
    other = LVM(tiny_lvm().config)
    with pytest.raises(JournalError, match=r"another LVM.*--restart"):
        run(source_of(images), out, other)
    fill(images, 71)
    with pytest.raises(JournalError, match="another source"):
        run(source_of(images), out)
    (tmp_path / "e.npz.partial" / "mine.txt").write_text("keep")
    assert run(source_of(images), out, other, restart=True).resumed == 0
    assert left(tmp_path / "e.npz.partial") == {"mine.txt"}, "only our own files are deleted"


@pytest.mark.parametrize("lost", [1, 5, 100, 3000])
def test_a_torn_or_rotten_end_of_the_progress_is_done_again(tmp_path: Path, lost: int) -> None:
    images, out, whole = fill(tmp_path / "images", 100), tmp_path / "e.npz", tmp_path / "w.npz"
    run(source_of(images), whole)
    with pytest.raises(KeyboardInterrupt):
        run(source_of(images), out, progress=stopped_after(96))
    records = tmp_path / "e.npz.partial" / "records.bin"
    kept = bytearray(records.read_bytes())
    if lost == 100:
        kept[-lost] ^= 1
    else:
        kept = kept[:-lost]
    records.write_bytes(kept)
    report = run(source_of(images), out)
    assert (report.encoded, report.resumed) == (100, 64)
    assert out.read_bytes() == whole.read_bytes()


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    images, out = fill(tmp_path / "images", 2), tmp_path / "e.npz"
    (tmp_path / "e.npz.partial").mkdir()
    (tmp_path / "e.npz.partial" / "manifest.json").write_text("{")
    with pytest.raises(JournalError, match=r"manifest.json is broken.*--restart"):
        run(source_of(images), out)
    assert run(source_of(images), out, restart=True).encoded == 2


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    images, out = fill(tmp_path / "images", 40), tmp_path / "e.npz"

    def second(done: int, _total: int) -> None:
        if done == 32:
            with pytest.raises(JournalError, match="Another process"):
                run(source_of(images), out)

    assert run(source_of(images), out, progress=second).encoded == 40


def test_killed_in_the_middle_it_gives_the_identical_file(
    tmp_path: Path, stand_in: Any, reply: Any
) -> None:
    pictures = {f"/{n}.png": Sky().fetch(address) for n, address in enumerate(sky(200))}
    rows = [f"{n},{stand_in.url}/{n}.png" for n in range(200)]
    (tmp_path / "c.csv").write_text("id,url\n" + "\n".join(rows) + "\n")
    tiny_lvm().save_pretrained(tmp_path / "lvm")
    stand_in.handler = lambda call: reply(200, pictures[call.path])
    whole, out = tmp_path / "whole.npz", tmp_path / "e.npz"
    lvm = LVM.from_pretrained(tmp_path / "lvm")
    run(source_of(tmp_path / "c.csv"), whole, lvm)
    command = [sys.executable, "-m", "ml_backend.cli", "encode", str(tmp_path / "c.csv")]
    command += ["--lvm", str(tmp_path / "lvm"), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3], env=environment)
    try:

        def kill(call: Any) -> Any:
            # Groups of 32, at most three ahead of what is kept: at least one is kept by now.
            if call.path == "/150.png":
                os.kill(process.pid, signal.SIGKILL)
            return reply(200, pictures[call.path])

        stand_in.handler = kill
        assert process.wait(120) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
    assert not out.exists()
    stand_in.handler = lambda call: reply(200, pictures[call.path])
    stand_in.calls.clear()
    report = run(source_of(tmp_path / "c.csv"), out, lvm)
    assert report.resumed >= 32
    assert len(stand_in.calls) == 200 - report.resumed
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "e.npz.partial").exists()
