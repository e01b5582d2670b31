"""Cleaning: old versions leave Label Studio and the disk; what may be in use stays."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from stand_ins import SHAPE_CONFIG, StandIn, settings_of, sky

from ml_backend.loop import drafts
from ml_backend.loop.cleaning import RETIRED_KEPT, RETIRED_MOST, clean, prune, removable
from ml_backend.loop.drafts import Basis
from ml_backend.store.database import Store, open_store
from ml_backend.store.tables import Ranking, Version
from ml_backend.store.versions import version_folder, write_version


class Place:
    def __init__(self, folder: Path) -> None:
        self.label_studio = StandIn(folder / "ls.json")
        self.label_studio.add_project(1)
        self.tasks = self.label_studio.add_tasks(1, sky(4))
        self.store: Store = open_store(settings_of(folder / "data", versions_kept=4))
        self.store.projects.save(1, "Galaxies", SHAPE_CONFIG)

    def publish(self) -> str:
        version = drafts.begin(self.store, 1, "cold", Basis("", "", ""), 0)
        write_version(version_folder(self.store.folder, version.name), {})
        drafts.note(self.store, version.name, on_disk=True)
        rows = [
            Ranking(version=version.name, task_id=task, place=n, score=n / 8, arm="cold")
            for n, task in enumerate(self.tasks)
        ]
        drafts.keep_ranking(self.store, version.name, rows)
        predictions = [
            {"task": task, "result": [], "score": 0.1, "model_version": version.name}
            for task in self.tasks
        ]
        self.label_studio.import_predictions(1, predictions)
        self.label_studio.update_project(1, model_version=version.name)
        drafts.crown(self.store, version.name, 1)
        return version.name

    def age(self, seconds: float) -> None:
        then = datetime.now(UTC) - timedelta(seconds=seconds)
        with self.store.session() as session:
            session.execute(
                update(Version).where(Version.retired_at.is_not(None)).values(retired_at=then)
            )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.store.close()


def test_young_and_latest_versions_stay_in_label_studio(place: Place) -> None:
    names = [place.publish() for _ in range(5)]
    assert removable(place.store, 1) == []
    place.age(3600)
    assert removable(place.store, 1) == names[: 4 - RETIRED_KEPT]
    assert clean(place.label_studio, place.store, 1) == 8
    assert sorted(place.label_studio.model_versions(1)) == names[4 - RETIRED_KEPT :]
    assert removable(place.store, 1) == []
    assert clean(place.label_studio, place.store, 1) == 0


def test_many_young_versions_do_not_pile_up(place: Place) -> None:
    names = [place.publish() for _ in range(RETIRED_MOST + 4)]
    assert removable(place.store, 1) == names[:3]


def test_an_abandoned_version_goes_at_once(place: Place) -> None:
    place.publish()
    left = drafts.begin(place.store, 1, "trained", Basis("", "", ""), 0)
    drafts.note(place.store, left.name, in_label_studio=True)
    place.publish()
    assert removable(place.store, 1) == [left.name]


def test_cleaning_stops_when_somebody_waits_and_goes_on_later(place: Place) -> None:
    for _ in range(6):
        place.publish()
    place.age(3600)
    asked = []

    def once() -> bool:
        asked.append(1)
        return len(asked) <= 2

    assert clean(place.label_studio, place.store, 1, once) == 4
    assert len(removable(place.store, 1)) == 2
    assert clean(place.label_studio, place.store, 1) == 8


def test_the_published_version_is_never_removed(place: Place) -> None:
    names = [place.publish() for _ in range(5)]
    place.label_studio.update_project(1, model_version=names[0])
    place.age(3600)
    clean(place.label_studio, place.store, 1)
    versions = place.label_studio.model_versions(1)
    assert names[0] in versions, "Label Studio serves it"
    assert names[4] in versions, "we publish it"


def test_files_of_old_versions_go_but_never_the_champions(place: Place) -> None:
    names = [place.publish() for _ in range(8)]
    drafts.crown(place.store, names[0], 1)
    assert prune(place.store, 1) == names[3:0:-1]
    left = sorted(path.name for path in (place.store.folder / "versions").iterdir())
    assert left == [names[0], *names[4:]]
    with place.store.reading() as session:
        ranked = session.scalar(select(func.count()).select_from(Ranking))
        kept = session.scalars(select(Version.name).where(Version.on_disk)).all()
    assert ranked == 5 * 4
    assert sorted(kept) == left
    assert prune(place.store, 1) == []
