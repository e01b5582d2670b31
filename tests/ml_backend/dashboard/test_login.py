"""The dashboard's login against people who should not get in."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from dashboard_world import HTML, PASSWORDS, SCRIPT, DashboardSite, form_token, open_site

from ml_backend.dashboard import visits
from ml_backend.dashboard.throttle import FREE_OF_ADDRESS, FREE_OF_NAME, MOST_KEPT, Throttle
from ml_backend.store.tables import Version


@pytest.fixture
def site(tmp_path: Path) -> Iterator[DashboardSite]:
    with open_site(tmp_path) as made:
        made.store.projects.save(3, "Rings", "<View/>")
        yield made


def test_whoever_is_not_logged_in_is_asked_and_then_led_on(site: DashboardSite) -> None:
    client = site.visitor()
    answer = client.get("/dashboard/3/models/?page=1", headers=HTML)
    assert answer.status_code == 302
    asked = answer.location
    form = client.get(asked, headers=HTML)
    assert form.status_code == 200
    assert "Rings" not in form.text
    answer = client.post(asked, data={"name": "ada", "password": PASSWORDS["ada"]})
    assert answer.location == "/dashboard/3/models/?page=1"
    assert client.get(answer.location, headers=HTML).status_code == 200
    # Who is in already needs no form.
    assert client.get("/dashboard/login", headers=HTML).status_code == 302


@pytest.mark.parametrize(
    "path", ["/dashboard", "/dashboard/", "/dashboard/3/health/now.json", "/dashboard/no/such/page"]
)
def test_no_page_is_open_and_scripts_are_told(site: DashboardSite, path: str) -> None:
    assert site.visitor().get(path, headers=HTML).status_code in (302, 308)
    assert site.visitor().get(path, headers=SCRIPT).status_code in (401, 308)


@pytest.mark.parametrize(
    "then",
    [
        "https://evil.example",
        "//evil.example",
        "/dashboard//evil.example/..\\",
        "\\\\evil.example",
        "/dashboardx",
        "javascript:alert(1)",
        "/dashboard/\r\nSet-Cookie: a=b",
        "/predict",
    ],
)
def test_no_address_leads_out_of_the_dashboard(site: DashboardSite, then: str) -> None:
    client = site.visitor()
    answer = site.log_in(client, "ada", PASSWORDS["ada"], query_string={"then": then})
    assert answer.location == "/dashboard/"
    assert "a=b" not in str(answer.headers)


def test_unknown_names_are_answered_as_wrong_passwords_are(site: DashboardSite) -> None:
    answers = [
        site.log_in(site.visitor(), name, "something wrong") for name in ("ada", "nobody at all")
    ]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].text == answers[1].text


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "ada\n", "' OR 1=1 --", "\u202eada"])
@pytest.mark.parametrize("password", ["", "y" * 100_000, "\0"])
def test_odd_names_and_passwords_are_only_wrong(
    site: DashboardSite, name: str, password: str
) -> None:
    assert site.log_in(site.visitor(), name, password).status_code == 403


def test_guessing_has_to_wait_and_only_there(site: DashboardSite) -> None:
    client = site.visitor()
    for _ in range(FREE_OF_NAME):
        assert site.log_in(client, "ada", "wrong").status_code == 403
    answer = site.log_in(client, "ada", PASSWORDS["ada"])
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 10
    assert "Try again in" in answer.text
    assert site.log_in(client, "vera", PASSWORDS["vera"]).status_code == 302
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    answer = site.log_in(site.visitor(), "ada", PASSWORDS["ada"], environ_base=elsewhere)
    assert answer.status_code == 302


def test_waits_grow_and_end() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    waits = []
    for _ in range(FREE_OF_NAME + 8):
        while wait := throttle.begin("ada", "here"):
            waits.append(wait)
            now[0] += wait
    assert waits[:4] == [10, 20, 40, 80]
    assert max(waits) == 300
    now[0] += 3600
    assert [throttle.begin("ada", "here") for _ in range(FREE_OF_NAME)] == [0] * FREE_OF_NAME


def test_many_names_from_one_address_wait_too_and_an_own_account_is_no_way_round() -> None:
    throttle = Throttle(lambda: 0.0)
    for number in range(FREE_OF_ADDRESS):
        assert throttle.begin(f"name {number}", "here") == 0
        if throttle.begin("mine", "here") == 0:
            throttle.succeeded("mine", "here")
    assert throttle.begin("another", "here") > 0
    assert throttle.begin("another", "there") == 0


def test_guesses_at_once_are_counted_before_they_are_looked_at() -> None:
    throttle = Throttle()
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: throttle.begin("ada", "here"), range(40)))
    assert waits.count(0) == FREE_OF_NAME


def test_what_is_kept_of_guesses_is_bounded() -> None:
    throttle = Throttle(lambda: 0.0)
    for number in range(MOST_KEPT):
        throttle.begin(f"name {number}", f"address {number}")
    assert len(throttle._tries) <= MOST_KEPT + 1


@pytest.mark.parametrize("https", [True, False])
def test_the_cookie_is_for_the_dashboard_alone(tmp_path: Path, https: bool) -> None:
    address = "https://loop.example.org" if https else "http://127.0.0.1:9090"
    with open_site(tmp_path, public_url=address) as site:
        cookie = site.log_in(site.visitor(), "ada", PASSWORDS["ada"]).headers["Set-Cookie"]
    parts = {part.strip() for part in cookie.split(";")[1:]}
    assert {"HttpOnly", "SameSite=Lax", "Path=/dashboard"} <= parts
    assert ("Secure" in parts) is https
    assert "password" not in cookie


def _is_in(client: Any) -> bool:
    return bool(client.get("/dashboard/", headers=HTML).status_code == 200)


def test_visits_end_with_the_password_and_the_account(site: DashboardSite) -> None:
    ada, vera = site.visitor("ada"), site.visitor("vera")
    assert _is_in(ada)
    assert _is_in(vera)
    site.store.accounts.save("ada", "another password", "manager")
    assert not _is_in(ada)
    assert _is_in(vera)
    site.store.accounts.remove("vera")
    assert not _is_in(vera)


def test_visits_end_by_themselves(site: DashboardSite, monkeypatch: pytest.MonkeyPatch) -> None:
    began, hours = time.time(), [0]
    monkeypatch.setattr(visits.time, "time", lambda: began + 3600 * hours[0])
    ada, idle = site.visitor("ada"), site.visitor("ada")
    for hours[0] in range(0, 168, 8):
        assert _is_in(ada)
    hours[0] = 169
    assert not _is_in(ada)
    hours[0] = 13
    assert not _is_in(idle)


def test_a_copy_of_the_cookie_is_worth_nothing_after_logging_out(site: DashboardSite) -> None:
    ada = site.visitor("ada")
    page = ada.get("/dashboard/", headers=HTML).text
    cookie = ada.get_cookie("galaxyloop", path="/dashboard")
    assert cookie is not None
    assert ada.post("/dashboard/logout", headers=HTML).status_code == 403
    assert ada.post("/dashboard/logout", data={"csrf": form_token(page)}).status_code == 302
    assert not _is_in(ada)
    thief = site.visitor()
    thief.set_cookie("galaxyloop", cookie.value, path="/dashboard")
    assert not _is_in(thief)


@pytest.mark.parametrize("value", ["", "x", "eyJhY2NvdW50IjoiYWRhIn0.aaaaaa.bbbbbbbbbbbbbbbbbbb"])
def test_a_cookie_that_we_have_not_signed_is_nobody(site: DashboardSite, value: str) -> None:
    client = site.visitor()
    client.set_cookie("galaxyloop", value, path="/dashboard")
    assert not _is_in(client)


def test_only_managers_act_and_only_by_our_forms(site: DashboardSite) -> None:
    from datetime import UTC, datetime

    with site.store.session() as session:
        session.add(
            Version(
                name="v1", project_id=3, number=1, kind="trained", state="retired",
                created_at=datetime.now(UTC), on_disk=True,
            )
        )  # fmt: skip
    address = "/dashboard/3/models/v1/rollback"
    vera, ada = site.visitor("vera"), site.visitor("ada")
    token = form_token(vera.get("/dashboard/", headers=HTML).text)
    assert vera.post(address, data={"csrf": token}, headers=HTML).status_code == 403
    token = form_token(ada.get(address, headers=HTML).text)
    for wrong in ({}, {"csrf": ""}, {"csrf": "x"}, {"csrf": "é"}, {"csrf": token[:-1]}):
        assert ada.post(address, data=wrong, headers=HTML).status_code == 403
    cross = {**HTML, "Sec-Fetch-Site": "cross-site"}
    assert ada.post(address, data={"csrf": token}, headers=cross).status_code == 403
    assert site.store.jobs.listing() == []
    assert ada.post(address, data={"csrf": token}, headers=HTML).status_code == 302
    assert len(site.store.jobs.listing()) == 1
    # A manager who was made a viewer acts no more, though nobody has logged out.
    site.store.accounts.save("ada", PASSWORDS["ada"], "viewer")
    assert ada.post(address, data={"csrf": token}, headers=HTML).status_code in (302, 401, 403)
    assert len(site.store.jobs.listing()) == 1
    assert [deed.action for deed in site.store.accounts.deeds(3)] == ["rollback"]


def test_logins_are_on_record_for_managers_alone(site: DashboardSite) -> None:
    vera, ada = site.visitor("vera"), site.visitor("ada")
    rows = ada.get("/dashboard/audit.csv").text.splitlines()
    assert [row.split(",")[2:4] for row in rows[1:]] == [["ada", "login"], ["vera", "login"]]
    assert vera.get("/dashboard/audit.csv").status_code == 403
    assert "audit.csv" not in vera.get("/dashboard/", headers=HTML).text


def test_without_accounts_the_form_says_how_to_make_one(tmp_path: Path) -> None:
    with open_site(tmp_path) as site:
        for name in PASSWORDS:
            site.store.accounts.remove(name)
        assert "galaxyloop accounts add" in site.visitor().get("/dashboard/login").text


def test_pages_renew_the_cookie_and_what_they_load_does_not(site: DashboardSite) -> None:
    ada = site.visitor("ada")
    page = ada.get("/dashboard/", headers={"Accept": "text/html"})
    assert "galaxyloop=" in page.headers.get("Set-Cookie", "")
    loaded = ada.get("/dashboard/", headers={"Accept": "image/avif,image/webp,*/*"})
    assert loaded.status_code == 200
    assert "Set-Cookie" not in loaded.headers
