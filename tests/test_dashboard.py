"""The dashboard as a person uses it: a real hotpipe, a real browser, its keyboard, and what a screen reader is told."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from editing import recorded, recorder
from playwright.sync_api import Browser, Page, expect
from running import PATIENCE_S, Hotpipe, Start, free_port

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
PATIENCE_MS = PATIENCE_S * 1000
STAGE = """
[stage.words]
run = "cat page.txt; grep -q good page.txt || { echo 'page.txt:1:3: error: no good word'; exit 1; }"
[stage.also]
run = "echo fine"
"""
SERVER = """
[server.app]
run = "echo here I am; exec sleep 1000"
"""
WEB = """
[web]
listen = "127.0.0.1:{port}"
"""


@dataclass
class Seen:
    """What a page must not do."""

    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


@dataclass
class Dashboard:
    """An open page, and the project that it shows."""

    page: Page
    folder: Path
    hotpipe: Hotpipe
    url: str

    def save(self, text: str) -> None:
        (self.folder / "page.txt").write_text(f"{text}\n")

    def shows(self, state: str) -> None:
        expect(self.page.locator("#band")).to_have_attribute("data-state", state, timeout=PATIENCE_MS)

    def run(self) -> int:
        """The number of the run that is told."""
        found = re.search(r"run (\d+)", self.page.inner_text("#detail"))
        assert found
        return int(found[1])

    def waits_for_run(self, number: int) -> None:
        expect(self.page.locator("#detail")).to_contain_text(f"run {number} ", timeout=PATIENCE_MS)


@pytest.fixture
def seen() -> Iterator[Seen]:
    """In the end: no error on the console, no violation of the policy, no request to anywhere else."""
    seen = Seen()
    yield seen
    assert seen.errors == []
    assert seen.elsewhere == []


@pytest.fixture
def page(browser: Browser, seen: Seen, start: Start) -> Iterator[Page]:
    """Closed before hotpipe is: nobody is there to answer then."""
    with browser.new_context(viewport={"width": 1200, "height": 900}) as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda told: seen.errors.append(told.text) if told.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("request", lambda asked: None if is_own(asked.url) else seen.elsewhere.append(asked.url))
        yield page


def is_own(url: str) -> bool:
    return re.match(r"http://127\.0\.0\.1:\d+/", url) is not None


def write(folder: Path, config: str, port: int = 0, page: str = "good") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "hotpipe.toml").write_text(config + WEB.format(port=port))
    (folder / "page.txt").write_text(f"{page}\n")
    return folder


def opened(page: Page, hotpipe: Hotpipe, folder: Path) -> Dashboard:
    url = hotpipe.until("web.ready")["url"]
    page.goto(url)
    return Dashboard(page, folder, hotpipe, url)


@pytest.fixture
def dashboard(page: Page, tmp_path: Path, start: Start) -> Dashboard:
    folder = write(tmp_path / "project", STAGE + SERVER)
    shown = opened(page, start(folder, "watch", "--web"), folder)
    shown.shows("green")
    return shown


class TestWhatIsShown:
    def test_a_save_that_breaks_it_turns_red_with_the_finding_and_one_that_mends_it_green(
        self, dashboard: Dashboard
    ) -> None:
        page = dashboard.page
        assert page.title() == "Green · project"
        dashboard.save("bad")
        dashboard.shows("red")
        expect(page.locator("#word")).to_have_text("Red: words failed")
        assert page.title() == "Red: words failed · project"
        assert page.get_attribute("#icon", "href") == "/icon-red.svg"
        finding = page.locator(".stage", has_text="words").locator(".findings li")
        expect(finding).to_have_text("error page.txt:1:3 no good word")
        expect(page.locator(".stage", has_text="also")).to_contain_text("Skipped")
        dashboard.save("good again")
        dashboard.shows("green")
        expect(page.locator(".findings li")).to_have_count(0)
        assert page.get_attribute("#icon", "href") == "/icon-green.svg"

    def test_a_server_shows_what_it_serves_and_its_generations(self, dashboard: Dashboard) -> None:
        card = dashboard.page.locator(".card")
        expect(card).to_contain_text("Generation 1")
        expect(card).to_contain_text("verified")
        expect(card.locator(".phase")).to_have_text([re.compile("boot"), re.compile("live")])
        expect(dashboard.page.locator("#log")).to_contain_text("here I am")

    def test_what_is_served_falls_behind_while_it_is_red(self, dashboard: Dashboard) -> None:
        dashboard.save("bad")
        dashboard.shows("red")
        expect(dashboard.page.locator(".behind")).to_have_text("1 save behind what is on disk")

    def test_the_history_comes_as_plots_and_as_tables(self, dashboard: Dashboard) -> None:
        page = dashboard.page
        expect(page.locator(".strip rect.run.green")).to_have_count(1, timeout=PATIENCE_MS)
        assert sorted(page.locator(".figure-title").all_text_contents()) == ["also", "app", "words"]
        assert all(page.locator("table").evaluate_all("tables => tables.map(each => each.caption?.textContent)"))
        dashboard.save("bad")
        expect(page.locator(".strip rect.run.red")).to_have_count(1, timeout=PATIENCE_MS)

    def test_an_invalid_configuration_is_told(self, dashboard: Dashboard) -> None:
        (dashboard.folder / "hotpipe.toml").write_text("[stage.words]\nrn = 1\n")
        expect(dashboard.page.locator("#troubles")).to_contain_text("did you mean 'run'?", timeout=PATIENCE_MS)

    def test_output_can_be_chosen_filtered_and_held(self, dashboard: Dashboard) -> None:
        page = dashboard.page
        log = page.locator("#log .line")
        expect(log).to_have_count(3)
        page.select_option("#log-source", "server:app")
        expect(log).to_have_text(["app·1here I am"])
        page.select_option("#log-source", "")
        page.fill("#log-filter", "FINE")
        expect(log).to_have_text(["alsofine"])
        page.fill("#log-filter", "")
        page.click("#log-hold")
        dashboard.save("good indeed")
        expect(page.locator("#log-hold")).to_contain_text("new", timeout=PATIENCE_MS)
        expect(page.locator("#log")).not_to_contain_text("good indeed")
        page.click("#log-hold")
        expect(page.locator("#log")).to_contain_text("good indeed")


class TestConnection:
    def test_the_token_leaves_the_address_bar(self, dashboard: Dashboard) -> None:
        assert "token" not in dashboard.page.url
        dashboard.page.reload()
        dashboard.shows("green")

    def test_without_it_the_page_says_what_to_do_and_shows_nothing(self, page: Page, dashboard: Dashboard) -> None:
        page.evaluate("sessionStorage.clear()")
        page.reload()
        dashboard.shows("unknown")
        expect(page.locator("#notice")).to_contain_text("Open the link that hotpipe printed")
        expect(page.locator("#content")).to_be_hidden()
        page.evaluate("hash => { location.hash = hash }", dashboard.url.partition("#")[2])
        dashboard.shows("green")

    def test_a_lost_connection_is_told_and_found_again(
        self, page: Page, seen: Seen, tmp_path: Path, start: Start
    ) -> None:
        folder = write(tmp_path / "project", STAGE, free_port())
        dashboard = opened(page, start(folder, "watch", "--web"), folder)
        dashboard.shows("green")
        dashboard.hotpipe.interrupt()
        dashboard.shows("lost")
        assert page.title() == "Connection lost · hotpipe"
        expect(page.locator("#rerun")).to_be_disabled()
        start(folder, "watch", "--web")
        dashboard.shows("green")
        expect(page.locator("#rerun")).to_be_enabled()
        assert all("ERR_" in error for error in seen.errors)  # the browser's own words while nobody answered
        seen.errors.clear()


class TestButtons:
    def test_run_all_and_run_one(self, dashboard: Dashboard) -> None:
        page = dashboard.page
        page.get_by_role("button", name="Run all").click()
        dashboard.waits_for_run(2)
        dashboard.shows("green")
        page.get_by_role("button", name="Run also").click()
        dashboard.waits_for_run(3)
        expect(page.locator("#said")).to_have_text("Running also")

    def test_restart(self, dashboard: Dashboard) -> None:
        dashboard.page.locator(".card").get_by_role("button", name="Restart app").click()
        dashboard.hotpipe.until("server.live", generation=2)
        expect(dashboard.page.locator(".serves")).to_contain_text("Generation 2", timeout=PATIENCE_MS)

    def test_pause_and_resume(self, dashboard: Dashboard) -> None:
        page = dashboard.page
        page.get_by_role("button", name="Pause").click()
        dashboard.shows("paused")
        dashboard.save("good, but later")
        dashboard.hotpipe.until("change.detected")
        page.get_by_role("button", name="Resume").click()
        dashboard.waits_for_run(2)
        dashboard.shows("green")

    def test_what_is_refused_is_told(self, dashboard: Dashboard, seen: Seen) -> None:
        page = dashboard.page
        page.evaluate("sessionStorage.setItem('hotpipe.token', 'wrong')")
        page.get_by_role("button", name="Run all").click()
        expect(page.locator("#said")).to_contain_text("a wrong one")
        assert all("401" in error for error in seen.errors)
        seen.errors.clear()


class TestKeyboard:
    def test_keys_do_what_buttons_do(self, dashboard: Dashboard) -> None:
        page = dashboard.page
        page.keyboard.press("r")
        dashboard.waits_for_run(2)
        page.keyboard.press("R")
        dashboard.hotpipe.until("server.live", generation=2)
        page.keyboard.press("p")
        dashboard.shows("paused")
        page.keyboard.press("p")
        dashboard.shows("green")

    def test_the_filter_takes_letters_as_letters(self, dashboard: Dashboard) -> None:
        page = dashboard.page
        page.keyboard.press("/")
        expect(page.locator("#log-filter")).to_be_focused()
        page.keyboard.type("rRpl")
        expect(page.locator("#log-filter")).to_have_value("rRpl")
        page.keyboard.press("Escape")
        expect(page.locator("#log-filter")).to_have_value("")
        page.keyboard.press("Escape")
        expect(page.locator("#log")).to_be_focused()
        page.keyboard.press("l")
        expect(page.locator("#log-source")).to_be_focused()
        assert dashboard.run() == 1

    def test_they_can_be_switched_off(self, dashboard: Dashboard) -> None:
        page = dashboard.page
        page.uncheck("#keys")
        page.locator("h1").click()
        page.keyboard.press("p")
        page.get_by_role("button", name="Run all").click()
        dashboard.waits_for_run(2)
        assert not dashboard.hotpipe.of("gate.paused")

    def test_a_finding_is_opened_in_the_editor_by_a_click_or_a_key(
        self, page: Page, tmp_path: Path, start: Start
    ) -> None:
        folder = write(tmp_path / "project", STAGE, page="bad")
        editor = f"HOTPIPE_EDITOR={recorder(tmp_path)} --at {{line}}:{{column}} {{file}}"
        dashboard = opened(page, start(folder, "watch", "--web", launcher=("env", editor)), folder)
        dashboard.shows("red")
        place = page.get_by_role("button", name="page.txt:1:3")
        expect(place).to_have_attribute("title", "open in editor")
        place.click()
        assert recorded(tmp_path) == ["--at", "1:3", str(folder / "page.txt")]
        page.locator("#stages button", has_text="words").focus()
        while not page.evaluate("document.activeElement.matches('.findings button')"):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert recorded(tmp_path) == ["--at", "1:3", str(folder / "page.txt")]
        expect(page.locator("#said")).to_have_text("Opening page.txt")
        expect(place).to_be_focused()

    def test_without_an_editor_the_place_is_shown_to_be_copied(self, page: Page, tmp_path: Path, start: Start) -> None:
        folder = write(tmp_path / "project", STAGE, page="bad")
        dashboard = opened(page, start(folder, "watch", "--web"), folder)
        dashboard.shows("red")
        expect(page.locator(".findings code").first).to_have_text("page.txt:1:3")
        assert page.locator(".findings button").count() == 0

    def test_tab_reaches_every_control_and_shows_where_it_is(self, dashboard: Dashboard) -> None:
        page = dashboard.page
        expect(page.locator("details").first).to_be_visible(timeout=PATIENCE_MS)
        controls = page.locator("button:visible, a:visible, select:visible, input:visible, summary:visible")
        wanted = controls.evaluate_all(
            "found => found.forEach((each, place) => { each.dataset.place = place }) ?? found.length"
        )
        reached, rings = set(), []
        page.evaluate("document.activeElement.blur()")
        for _ in range(3 * wanted):
            page.keyboard.press("Tab")
            place, ring = page.evaluate(
                "() => [document.activeElement.dataset.place, getComputedStyle(document.activeElement).outlineStyle]"
            )
            reached.add(place)
            rings.append(ring)
            if len(reached - {None}) == wanted:
                break
        assert len(reached - {None}) == wanted
        assert "none" not in rings


HOSTILE = (
    "<img src=x onerror=hacked=1>",
    "<script>hacked=1</script>",
    "\x1b]0;title\x07after",
    "\x1b]8;;javascript:hacked=1\x1b\\link\x1b]8;;\x1b\\",
    "\x1b[31mred\x1b[0m \x1b[38;2;1;2;3mtrue\x1b[m \x1b[2J\x1b[Hhome",
    "50%\r100%",
    "nul\x00bell\x07\x9b31mcsi",
    "x" * 100_000,
)


class TestHostileOutput:
    @pytest.fixture
    def hostile(self, page: Page, tmp_path: Path, start: Start) -> Dashboard:
        finding = "page.txt:1:1: error: <img src=x onerror=hacked=1>"
        config = f"[stage.a-b]\nrun = \"cat hostile.txt; echo '{finding}'; exit 1\"\n"
        folder = write(tmp_path / "<b>project", config)
        (folder / "hostile.txt").write_text("\n".join((*HOSTILE, "")), newline="\n")
        shown = opened(page, start(folder, "watch", "--web"), folder)
        shown.shows("red")
        return shown

    def test_is_text_and_nothing_else(self, hostile: Dashboard) -> None:
        page = hostile.page
        expect(page.locator(".findings .message")).to_have_text("<img src=x onerror=hacked=1>")
        lines = page.locator("#log .text")
        expect(lines).to_have_count(len(HOSTILE) + 1 + (len(HOSTILE[-1]) > 65_536))
        texts = lines.all_text_contents()
        assert texts[:7] == [
            HOSTILE[0], HOSTILE[1], "after", "link", "red true home", "100%", "nulbellcsi",
        ]  # fmt: skip
        assert all(len(text) < 5_000 for text in texts)
        assert page.locator("img, script:not([src]), #log a, #stages a").count() == 0
        assert page.evaluate("typeof hacked") == "undefined"
        assert page.title() == "Red: a-b failed · <b>project"

    def test_colours_are_kept(self, hostile: Dashboard) -> None:
        coloured = hostile.page.locator("#log .text span")
        assert coloured.evaluate_all("spans => spans.map(each => [each.className, each.style.color])") == [
            ["fg1", ""],
            ["", "rgb(1, 2, 3)"],
        ]


class TestFlood:
    def test_the_page_stays_small_and_answers(self, page: Page, tmp_path: Path, start: Start) -> None:
        config = '[stage.flood]\nrun = "i=0; while [ $i -lt 40 ]; do seq 1 1000; i=$((i+1)); sleep 0.1; done"\n'
        folder = write(tmp_path / "project", config)
        dashboard = opened(page, start(folder, "watch", "--web"), folder)
        dashboard.shows("checking")
        page.fill("#log-filter", "999")
        expect(page.locator("#log .line").first).to_contain_text("999", timeout=PATIENCE_MS)
        page.fill("#log-filter", "")
        dashboard.shows("green")
        expect(page.locator("#log .line").last).to_have_text("flood1000", timeout=PATIENCE_MS)
        assert page.locator("#log .line").count() <= 2_000


CONTRASTS = (Path(__file__).parent / "contrast.js").read_text()
# Controls by what they are called, as accessibility trees name them, roughly: label, aria-label, text.
NAMES = """
() => [...document.querySelectorAll("button, a, select, input, summary, svg[role=img], [role=log], [role=group]")]
  .filter((each) => each.checkVisibility())
  .map((each) => {
    const labels = [...(each.labels ?? [])].map((label) => label.textContent).join("");
    return [each.outerHTML.slice(0, 80), (each.getAttribute("aria-label") ?? labels).trim() || each.textContent.trim()];
  })
"""


class TestForEverybody:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_all_text_can_be_read(self, dashboard: Dashboard, scheme: str) -> None:
        page = dashboard.page
        page.emulate_media(color_scheme=scheme)
        for state, text in (("green", "good!"), ("red", "bad"), ("green", "good")):
            before = dashboard.run()
            dashboard.save(text)
            dashboard.waits_for_run(before + 1)
            dashboard.shows(state)
            page.evaluate("Promise.allSettled(document.getAnimations().map((each) => each.finished))")
            told = page.evaluate(CONTRASTS)
            assert len(told) > 20
            assert [each for each in told if each[0] < 4.5] == []

    def test_every_control_has_a_name(self, dashboard: Dashboard) -> None:
        dashboard.save("bad")
        dashboard.shows("red")
        expect(dashboard.page.locator(".plot").first).to_be_visible(timeout=PATIENCE_MS)
        names = dashboard.page.evaluate(NAMES)
        assert len(names) > 10
        assert [html for html, name in names if not name] == []

    def test_it_has_landmarks_one_heading_and_a_live_verdict(self, dashboard: Dashboard) -> None:
        page = dashboard.page
        for role in ("banner", "main", "contentinfo"):
            expect(page.get_by_role(role)).to_have_count(1)
        expect(page.locator("h1")).to_have_count(1)
        expect(page.get_by_role("status").first).to_have_attribute("aria-live", "polite")
        for name in ("Checks", "Servers", "Output", "History"):
            expect(page.get_by_role("region", name=name, exact=True)).to_have_count(1)
        ids = page.locator("[id]").evaluate_all("found => found.map(each => each.id)")
        assert len(ids) == len(set(ids))
        assert page.get_attribute("html", "lang") == "en"

    @pytest.mark.parametrize("width", [320, 390, 768])
    def test_nothing_sticks_out_of_a_narrow_window(self, dashboard: Dashboard, width: int) -> None:
        page = dashboard.page
        page.set_viewport_size({"width": width, "height": 800})
        dashboard.save("bad")
        dashboard.shows("red")
        expect(page.locator(".strip rect.run.red")).to_have_count(1, timeout=PATIENCE_MS)
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    def test_who_wants_no_motion_gets_none(self, page: Page, tmp_path: Path, start: Start) -> None:
        page.emulate_media(reduced_motion="reduce")
        folder = write(tmp_path / "project", '[stage.slow]\nrun = "sleep 1000"\n')
        opened(page, start(folder, "watch", "--web"), folder).shows("checking")
        assert page.evaluate("document.getAnimations().length") == 0
        assert os.listdir(folder)
