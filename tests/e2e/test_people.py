"""Pictures and simulated people on a real Label Studio (no backend)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from PIL import Image

from ml_backend.demo.account import Account
from ml_backend.demo.invitations import join
from ml_backend.demo.label_studio import LabelStudioServer
from ml_backend.demo.labels import DemoImage
from ml_backend.demo.people import Annotator, Crew, Question
from ml_backend.demo.pictures import address, place
from ml_backend.demo.project import Provision, control_name, labelling_config
from ml_backend.errors import DemoError
from ml_backend.labelstudio.client import LabelStudioClient

pytestmark = pytest.mark.e2e

CLASSES = ("ring & arms", 'the "other"')
NAMES = ("a b.png", "né 1#2.png", "50%25.png", "100%.png", "x+y&z=1?.png", "日本.png", "sub/é.png")


@pytest.fixture(scope="module")
def pictures(
    tmp_path_factory: pytest.TempPathFactory, label_studio_files: Path
) -> dict[str, DemoImage]:
    source = tmp_path_factory.mktemp("source")
    images = {}
    for index, name in enumerate(NAMES):
        path = source / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (index * 30, 99, 7)).save(path)
        images[name] = DemoImage(name, path, CLASSES[index % 2])
    return images


@pytest.fixture(scope="module")
def project(
    label_studio: LabelStudioServer, label_studio_files: Path, pictures: dict[str, DemoImage]
) -> tuple[Provision, int, dict[int, str]]:
    placed, problems = place(list(pictures.values()), label_studio_files / "people")
    assert not problems
    provision = label_studio.provision()
    made = provision.create("Simulated people", labelling_config("which one?", CLASSES))
    provision.permit(made, "people")
    half = provision.complete(made, "people", placed[:3])
    tasks = provision.complete(made, "people", placed)
    assert set(half) < set(tasks)
    return provision, made, tasks


def test_every_image_is_a_task_once_and_is_shown(
    label_studio: LabelStudioServer,
    project: tuple[Provision, int, dict[int, str]],
    pictures: dict[str, DemoImage],
) -> None:
    _, made, tasks = project
    assert sorted(tasks.values()) == sorted(NAMES)
    client = LabelStudioClient(label_studio.url, label_studio.account.token)
    for task in client.tasks(made):
        assert "label" not in task["data"]
        name = tasks[task["id"]]
        assert task["data"]["image"] == address("people", name)
        answer = requests.get(
            label_studio.url + task["data"]["image"], headers=label_studio.headers(), timeout=30
        )
        assert answer.status_code == 200, name
        assert answer.content == pictures[name].path.read_bytes()


def test_files_outside_the_permitted_folder_are_not_shown(
    label_studio: LabelStudioServer,
    label_studio_files: Path,
    project: tuple[Provision, int, dict[int, str]],
) -> None:
    outside = label_studio_files / "not-permitted"
    outside.mkdir(exist_ok=True)
    (outside / "a.png").write_bytes(b"secret")
    answer = requests.get(
        label_studio.url + address("not-permitted", "a.png"),
        headers=label_studio.headers(),
        timeout=30,
    )
    assert answer.status_code in (403, 404)


def test_people_submit_exactly_so_many_votes(
    label_studio: LabelStudioServer,
    project: tuple[Provision, int, dict[int, str]],
    pictures: dict[str, DemoImage],
    tmp_path: Path,
) -> None:
    provision, made, tasks = project
    owner = LabelStudioClient(label_studio.url, label_studio.account.token)
    control = control_name("which one?")
    region = {
        "id": "r1", "type": "choices", "from_name": control, "to_name": "image",
        "value": {"choices": [CLASSES[0]]}, "score": 0.9,
    }  # fmt: skip
    sent = [
        {"task": task, "result": [region], "score": 0.1 + 0.1 * index, "model_version": "test-v1"}
        for index, task in enumerate(sorted(tasks))
    ]
    assert owner.import_predictions(made, sent) == len(tasks)
    owner.update_project(made, model_version="test-v1")

    question = Question(
        control, "image", CLASSES, {t: pictures[k].label or "" for t, k in tasks.items()}
    )
    people = []
    for number in range(2):
        email = f"person-{uuid4().hex}@example.com"
        account = Account.kept_in(tmp_path / str(number), email)
        token = join(label_studio, account)
        assert join(label_studio, account) == token
        client = LabelStudioClient(label_studio.url, token)
        people.append(Annotator(client, made, question, 0.0, seed=5, number=number))
    crew = Crew(people, lambda count: provision.reopen(made, count, most=2, seed=1))

    assert crew.annotate(10) == 10
    assert provision.votes(made) == 10
    given = [a for task in owner.tasks(made) for a in task["annotations"]]
    assert len(given) == 10
    assert all(a["lead_time"] > 0 and a["parent_prediction"] for a in given)
    per_task = Counter(a["task"] for a in given)
    assert max(per_task.values()) == 2
    assert set(per_task) == set(tasks), "every task gets its first vote before any its second"
    assert len({(a["task"], a["completed_by"]) for a in given}) == 10
    for annotation in given:
        choice = annotation["result"][0]["value"]["choices"][0]
        assert choice == question.truth[annotation["task"]]
        accepted = annotation["result"][0]["origin"] == "prediction"
        assert accepted == (choice == CLASSES[0])

    assert crew.annotate(4) == 4
    with pytest.raises(DemoError, match="no task left"):
        crew.annotate(1)
