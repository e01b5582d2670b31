"""A person's way through it, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from ml_backend.demo.people import Crew
from ml_backend.demo.project import labelling_config

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

Loop = Any  # RunningLoop of conftest.py, which tests cannot import
Eventually = Callable[..., None]
ARTIFACTS = Path(__file__).parents[2] / "artifacts"
SUBMIT = "[data-testid=bottombar-submit-button]"
TASK = ".lsf-current-task__task-id"
TICKED = ".lsf-choice input:checked"


@pytest.fixture(scope="module")
def hosts(page: Page) -> set[str]:
    """All hosts that the browser has asked for anything."""
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(urlsplit(request.url).hostname or ""))
    return asked


def log_in(page: Page, loop: Loop) -> None:
    page.goto(f"{loop.server.url}/user/login/")
    page.fill("input[name=email]", loop.server.account.email)
    page.fill("input[name=password]", loop.server.account.password)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "login" not in url)


def current_task(page: Page, other_than: int | None = None) -> int:
    """Return the id of the task in the editor, once it is filled in."""
    page.wait_for_function(
        """([task, ticked, other]) => {
            const element = document.querySelector(task);
            const id = element && parseInt(element.textContent);
            return id && id !== other && document.querySelector(ticked);
        }""",
        arg=[TASK, TICKED, other_than],
    )
    return int(page.locator(TASK).inner_text().split()[0].strip("#"))


def image_width(page: Page) -> int:
    """Return the natural width of the galaxy's image in pixels; 0 where it is not shown."""
    found = page.wait_for_function(
        """() => {
            // The editor loads the file itself and shows it from memory.
            const shown = [...document.querySelectorAll('img')].filter(
                image => /^blob:|local-files/.test(image.src) && image.naturalWidth > 0
                    && image.getBoundingClientRect().width > 50);
            return shown.length ? shown[0].naturalWidth : false;
        }"""
    )
    return int(found.json_value())


def submit(page: Page) -> None:
    with page.expect_response(
        lambda answer: "/annotations" in answer.url and answer.request.method == "POST"
    ) as answer:
        page.click(SUBMIT)
    assert answer.value.ok


def test_a_person_corrects_suggestions_and_the_queue_follows(
    running_loop: Loop, page: Page, hosts: set[str], eventually: Eventually
) -> None:
    project = running_loop.project("Galaxies in a browser", blind_audit=False)
    # Six answers make a round: those of others one, four more and this person's two the next.
    Crew(running_loop.annotators(project), lambda count: 0).annotate(6)
    suggesting = project.loop.wait(6).version
    Crew(running_loop.annotators(project), lambda count: 0).annotate(4)
    queue = running_loop.ranked(suggesting)

    log_in(page, running_loop)
    page.goto(f"{running_loop.server.url}/projects/{project.id}/data")
    page.get_by_role("button", name="Label All Tasks").click()
    page.wait_for_selector(SUBMIT)
    task = current_task(page)
    assert task == queue[4], "the order is that of the published version"
    assert image_width(page) == 128

    predictions = running_loop.owner.predictions(project.id, suggesting)
    [prediction] = [row for row in predictions if row["task"] == task]
    [suggested] = prediction["result"][0]["value"]["choices"]
    assert page.locator(TICKED).get_attribute("name") == suggested
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "label-stream.png")

    corrected = next(label for label in project.question.classes if label != suggested)
    page.locator(f'.lsf-choice input[name="{corrected}"]').click()
    page.wait_for_function(
        "([ticked, name]) => document.querySelector(ticked)?.name === name", arg=[TICKED, corrected]
    )
    submit(page)
    second = current_task(page, other_than=task)
    accepted = page.locator(TICKED).get_attribute("name")
    submit(page)

    state = project.loop.wait(12)
    votes = {vote.task_id: vote for vote in running_loop.votes(project.id)}
    assert votes[task].labels == [corrected]
    assert votes[task].origin == "prediction-changed"
    assert votes[task].accepted is False
    assert votes[task].shown_version == suggesting
    assert votes[second].labels == [accepted]
    assert votes[second].origin == "prediction"
    assert votes[second].accepted is True
    assert state.version != suggesting
    assert running_loop.owner.project(project.id)["model_version"] == state.version

    # The task in hand when the version changed stays; the one after it is the new order's first.
    third = current_task(page, other_than=second)
    submit(page)
    fourth = current_task(page, other_than=third)
    order = [entry for entry in running_loop.ranked(state.version) if entry != third]
    assert fourth == order[0]
    [shown] = [
        row
        for row in running_loop.owner.predictions(project.id, state.version)
        if row["task"] == fourth
    ]
    assert page.locator(TICKED).get_attribute("name") == shown["result"][0]["value"]["choices"][0]
    assert hosts <= {"127.0.0.1", ""}, "nothing leaves this machine"


def test_an_image_with_an_odd_name_is_shown(running_loop: Loop, page: Page) -> None:
    from ml_backend.demo.labels import DemoImage
    from ml_backend.demo.pictures import place

    picture = running_loop.pictures[0].image.path
    odd = DemoImage("né 50% #1+2&3?.png", picture, None)
    files = running_loop.server.files
    pictures, _ = place([odd], files / "odd")
    provision = running_loop.server.provision()
    project = provision.create("Odd names", labelling_config("shape", ("a", "b")))
    provision.permit(project, "odd")
    provision.complete(project, "odd", pictures)
    log_in_if_needed(page, running_loop)
    page.goto(f"{running_loop.server.url}/projects/{project}/data")
    page.get_by_role("button", name="Label All Tasks").click()
    page.wait_for_selector(SUBMIT)
    assert image_width(page) == 128


def log_in_if_needed(page: Page, loop: Loop) -> None:
    page.goto(f"{loop.server.url}/user/login/")
    if page.locator("input[name=password]").count():
        log_in(page, loop)
