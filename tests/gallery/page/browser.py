"""The page in a real browser; `make test-page` runs it and leaves pictures in outputs/page.

It needs Chromium (`apt-get install chromium`) and the package playwright, which `make test-page` installs.
"""

import asyncio
import shutil
import threading
from pathlib import Path

import pytest
from aiohttp import web

from src.checkpoints.calibration_entry import add_calibration
from src.gallery import Gallery, build
from src.gallery.page import make_app
from src.gallery.query import matching_embedder
from src.retrieval.probabilities.calibration import Calibration, EvidenceCurve, Fit

PICTURES = Path("outputs/page")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


@pytest.fixture
def address(composed, untrained, tmp_path, request):
    checkpoint = untrained("method=bot")
    if calibration := getattr(request, "param", None):
        add_calibration(checkpoint, calibration)
    chosen = ("data=quickstart_veri", "time_unit=frames", f"out={tmp_path / 'gallery'}")
    build.run(composed(f"checkpoint={checkpoint}", *chosen, config="index"))
    gallery = Gallery.open(tmp_path / "gallery")
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(make_app(gallery, matching_embedder(gallery, None, "cpu")))
    loop.run_until_complete(runner.setup())
    site = web.TCPSite(runner, "127.0.0.1", 0)
    loop.run_until_complete(site.start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(runner.cleanup())
    loop.close()


@pytest.fixture
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.fail(f"There is no browser: none of {', '.join(names)} is installed; apt-get install chromium.")
    from playwright.sync_api import sync_playwright  # here: the rest of the tests does without it

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_search_filter_and_search_on(address, browser, quickstart_veri, width, height):
    page = browser.new_page(viewport={"width": width, "height": height})
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    PICTURES.mkdir(parents=True, exist_ok=True)

    def shoot(name):
        page.wait_for_load_state("networkidle")
        # Nothing sticks out to the side.
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.screenshot(path=PICTURES / f"{width}_{name}.png")

    page.goto(address)
    page.get_by_text("494 pictures of quickstart_veri").wait_for()
    shoot("start")

    query = sorted((quickstart_veri / "image_query").glob("*.jpg"))[9]
    page.set_input_files("#file", query)
    page.wait_for_selector("#results li")
    assert page.locator("#results li").count() == 24
    # The gallery has a copy of each query.
    assert page.locator("#results li b").first.inner_text() == "1.000"
    assert page.locator("#timeline .hit").count() == 24
    assert page.locator("#map .camera").count() == 8
    shoot("uploaded")

    # Search on from the second result, and go back.
    second = page.locator("#results li").nth(1)
    row = second.get_attribute("id").removeprefix("hit-")
    second.locator("button").click()
    page.wait_for_selector(f"#hit-{row}", state="detached")  # it is the query now
    assert page.url.endswith(f"#{row}")
    shoot("searched_on")
    page.go_back()
    page.wait_for_selector(f"#hit-{row}")

    # One camera only.
    if page.locator("#filters").get_attribute("open") is None:
        page.locator("#filters summary").click()
    page.get_by_label("Camera 4").check()
    page.wait_for_selector("#results li:not(:has-text('Camera 4'))", state="detached")
    assert page.locator("#results li").count() == 24
    page.select_option("select[name=type]", "bus")
    page.locator("input[name=threshold]").fill("0.98")
    page.get_by_text("Nothing passes").wait_for()
    shoot("filtered")
    page.get_by_role("button", name="Clear filters").click()
    page.wait_for_selector("#results li:nth-child(24)")

    # What is no picture is refused with a sentence.
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"})
    page.get_by_text("The file is no picture").wait_for()
    assert not [text for text in complaints if "400" not in text], complaints


def test_one_result_a_track(address, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{address}#7")
    page.wait_for_selector("#results li:nth-child(24)")
    assert page.locator("#results .facts:has-text('pictures')").count() == 0
    page.get_by_label("One result a track").check()
    page.wait_for_selector("#results .facts:has-text('pictures')")
    assert page.locator("#timeline .span").count() > 0
    assert page.locator("#timeline .trip").count() == 0
    page.locator("input[name=threshold]").fill("0.5")  # what is alike enough is one trip
    page.wait_for_selector("#timeline .trip", state="attached")
    page.get_by_role("button", name="Clear filters").click()
    page.wait_for_selector("#timeline .trip", state="detached")
    assert not complaints


MADE_UP = Calibration(
    EvidenceCurve((0.9, 1.0), (-2.0, 12.0)), {}, Fit("logistic", "put aside", 9, 90, 100, 900, 9.0, {})
)


@pytest.mark.parametrize("address", [MADE_UP], indirect=True)
def test_probabilities_take_the_place_of_scores(address, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{address}#7")
    page.wait_for_selector("#results li:nth-child(24)")
    assert "%" in page.locator("#results li b").first.inner_text()
    assert "prior=0.018" in page.locator("#results li b").first.get_attribute("title")
    page.get_by_text("Least probability").wait_for()
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / "1280_probabilities.png")
    page.locator("input[name=min_probability]").fill("0.9")
    page.wait_for_selector("#results li:nth-child(24)", state="detached")
    assert not complaints
