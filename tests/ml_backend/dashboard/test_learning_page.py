"""The Learning page: figures with errors, a matrix that opens its galaxies, and its states."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from gallery import Gallery

from ml_backend.dashboard.learning_rows import read_learning
from ml_backend.store.dashboard_tables import Figure


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_a_round: Path) -> Gallery:
    return Gallery(tmp_path / "world", monkeypatch, after_a_round)


def _keep(gallery: Gallery, data: Any) -> None:
    with gallery.store.session() as session:
        session.merge(Figure(project_id=1, name="learning", at=datetime.now(UTC), data=data))


def _file(gallery: Gallery, name: str) -> list[dict[str, str]]:
    answer = gallery.get(f"learning/{name}.csv")
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text)))


def _told(**changes: Any) -> dict[str, Any]:
    point = {"version": "v1", "votes": 50, "rows": 50, "accuracy": 0.8, "log_loss": 0.5}
    both = {"rows": 50, "accuracy": [0.8, 0.05]}
    return {
        "version": "v1",
        "curves": {"shape": [point], "size": [{"version": "v1", "votes": 50, "loss": 0.3}]},
        "measured": {
            "v1": {"shape": {"all": both, "audit": {"rows": 20, "accuracy": [0.9, 0.06]}}}
        },
        "controls": {
            "shape": {
                "labels": ["a", "b"],
                "rows": 50,
                "calibration": {"error": 0.02, "bins": [[0.9, 0.88, 0.04, 50]]},
                "confusion": [
                    {
                        "title": "",
                        "labels": ["a", "b"],
                        "counts": [[30, 5], [5, 10]],
                        "tasks": {"0-1": [3, 4, 5, 6, 7]},
                    }
                ],
            }
        },
        "saved": {},
        **changes,
    }


def test_the_page_shows_the_round_s_measurements(gallery: Gallery) -> None:
    page = " ".join(gallery.get("learning/").text.split())
    assert "One version is measured so far" in page
    assert "0 of 60 labelled galaxies of random order" in page
    assert "People say" in page
    rows = _file(gallery, "confusion")
    assert len(rows) == 9
    assert sum(int(row["galaxies"]) for row in rows) == 12
    (version,) = _file(gallery, "curves")
    assert (version["votes"], version["published"]) == ("12.0", "yes")
    assert {row["measure"] for row in _file(gallery, "errors")} >= {"accuracy", "log_loss"}
    assert sum(int(row["answers"]) for row in _file(gallery, "calibration")) == 12


def test_a_cell_opens_its_galaxies(gallery: Gallery) -> None:
    page = gallery.get("learning/").text
    cells = re.findall(r'href="/dashboard/1/(learning/cell/[^"]+)"', page)
    shown = []
    for cell in cells:
        answer = gallery.get(cell.replace("&amp;", "&"))
        assert answer.status_code == 200
        tasks = re.findall(r'src="/dashboard/1/explore/thumbnail/(\d+)', answer.text)
        shown += [int(task) for task in tasks]
        assert all(f"/projects/1/data?task={task}" in answer.text for task in tasks)
    assert sorted(shown) == sorted(gallery.tasks[:12])


def test_a_full_cell_says_how_many_it_shows(gallery: Gallery) -> None:
    told = _told()
    told["controls"]["shape"]["confusion"][0]["counts"][0][1] = 500
    _keep(gallery, told)
    page = " ".join(gallery.get("learning/cell/0/0/1").text.split())
    assert "5 of 500" in page
    assert "No galaxy is in this cell" in gallery.get("learning/cell/0/1/0").text


@pytest.mark.parametrize("cell", ["9/0/0", "0/7/0", "0/0/7", "0/0/0?control=nobody", "x/0/0"])
def test_cells_that_are_not_there_are_not_found(gallery: Gallery, cell: str) -> None:
    assert gallery.get(f"learning/cell/{cell}").status_code == 404


def test_the_audit_arm_stands_beside_all_answers(gallery: Gallery) -> None:
    _keep(gallery, _told())
    page = " ".join(gallery.get("learning/").text.split())
    assert "0.800<small> ± 0.050</small>" in page
    assert "0.900<small> ± 0.060</small>" in page


def test_other_controls_show_their_losses(gallery: Gallery) -> None:
    _keep(gallery, _told())
    page = gallery.get("learning/?control=size").text
    assert "0.300" in page
    assert "People say" not in page
    assert gallery.get("learning/plots/curve?control=size").status_code == 200


@pytest.mark.parametrize("plot", ["curve", "calibration", "curve?measure=log_loss&theme=dark"])
def test_its_plots_are_json(gallery: Gallery, plot: str) -> None:
    answer = gallery.get(f"learning/plots/{plot}")
    assert answer.status_code == 200
    assert "root_id" in json.loads(answer.text)
    assert gallery.get("learning/plots/saved").status_code == 404


@pytest.mark.parametrize(
    ("would", "said"),
    [
        ([80.0, 120.0, 160.0], "So about 70 labels were saved"),
        ([30.0, 120.0, None], "though the band does not exclude none"),
        ([100.0, None, None], "So more than 750 labels were saved"),
        ([None, None, None], "So more than 750 labels were saved"),
        ([10.0, 30.0, 45.0], "So none were saved: random order would have needed 20 fewer"),
    ],
)
def test_labels_saved_are_said_in_words(gallery: Gallery, would: Any, said: str) -> None:
    saved = {
        "labelled": 50, "random": 70, "needed": 60, "would_need": would, "beyond": 800.0,
        "saved": [None if value is None else value - 50 for value in would], "loss": 0.4,
        "loss_error": 0.05, "learned_from": 40.0, "curve": [[5, 1.0, 0.1], [40, 0.5, 0.05]],
    }  # fmt: skip
    _keep(gallery, _told(saved={"shape": saved}))
    assert said in " ".join(gallery.get("learning/").text.split())
    assert gallery.get("learning/plots/saved").status_code == 200


def test_a_small_random_sample_promises_nothing(gallery: Gallery) -> None:
    saved = {
        "labelled": 500, "random": 70, "needed": 60, "would_need": [None] * 3, "beyond": 300.0,
        "saved": [None] * 3, "loss": 0.4, "loss_error": 0.05, "learned_from": 400.0,
        "curve": [[5, 1.0, 0.1], [40, 0.5, 0.05]],
    }  # fmt: skip
    _keep(gallery, _told(saved={"shape": saved}))
    page = " ".join(gallery.get("learning/").text.split())
    assert "too small to tell whether labels were saved" in page
    assert "were saved. " not in page.replace("whether labels were saved. ", "")


def test_a_project_before_its_first_round_says_what_will_come(gallery: Gallery) -> None:
    page = gallery.http.get("/dashboard/2/learning/")
    assert page.status_code == 200
    assert "Nothing is learnt yet" in page.text
    assert gallery.http.get("/dashboard/2/learning/curves.csv").status_code == 404
    assert gallery.http.get("/dashboard/99/learning/").status_code == 404


def test_a_first_day_without_votes_says_so(gallery: Gallery) -> None:
    _keep(gallery, {"version": None, "curves": {"shape": []}})
    page = gallery.get("learning/")
    assert page.status_code == 200
    assert "Nothing is learnt of shape yet" in page.text


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"curves": 3},
        {"curves": {"shape": [{"votes": 1}]}},
        _told(controls={"shape": {"confusion": [{"title": "", "labels": ["a"], "counts": []}]}}),
        _told(saved={"shape": {"would_need": [1]}}),
        _told(controls={"shape": {"calibration": {"bins": [[1]]}}}),
    ],
)
def test_a_broken_figure_is_said_and_breaks_nothing(gallery: Gallery, data: Any) -> None:
    _keep(gallery, data)
    page = gallery.get("learning/")
    assert page.status_code == 200
    assert "The measurements cannot be read" in page.text
    assert gallery.get("learning/plots/curve").status_code == 404
    assert gallery.get("progress/").status_code == 200


def test_labels_from_outside_stay_text(gallery: Gallery) -> None:
    evil = "<script>alert(1)</script>"
    told = _told()
    told["controls"]["shape"]["confusion"][0]["labels"] = [evil, "b"]
    _keep(gallery, told)
    assert evil not in gallery.get("learning/").text
    assert evil not in gallery.get("learning/cell/0/0/1").text


def test_errors_that_were_not_kept_are_those_of_a_share(gallery: Gallery) -> None:
    _keep(gallery, _told(measured={}))
    learning, _ = read_learning(gallery.store, 1)
    assert learning is not None
    (point,) = learning.controls[0].seen["accuracy"]
    assert point.error == pytest.approx((0.8 * 0.2 / 50) ** 0.5, rel=0.1)
    assert learning.controls[0].seen["log_loss"][0].error is None


def test_without_a_login_nothing_is_told(gallery: Gallery) -> None:
    other = gallery.app.test_client()
    for path in ("", "curves.csv", "plots/curve", "cell/0/0/0"):
        assert other.get(f"/dashboard/1/learning/{path}").status_code in (302, 401, 403)
