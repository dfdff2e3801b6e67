"""The installed Chromium, headless, offline: what the tests of pages look with."""

from collections.abc import Iterator
from contextlib import contextmanager
from shutil import which
from typing import Any

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
BROWSER = which("chromium") or which("google-chrome")


@contextmanager
def open_page(width: int = 1280, height: int = 900, **options: Any) -> Iterator[Any]:
    """Yield a page; `page.problems` holds console errors, exceptions and failed requests, and
    `page.asked` the address of every request.
    """
    playwright = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": width, "height": height}, **options)
        page.set_default_timeout(120_000)  # WebGL in software, on few and busy cores
        page.problems, page.asked = [], []
        page.on("console", lambda m: page.problems.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.problems.append(str(e)))
        page.on("requestfailed", lambda r: page.problems.append(f"failed: {r.url}"))
        page.on("request", lambda r: page.asked.append(r.url))
        yield page
        browser.close()


def serious(page: Any) -> list[str]:
    """Return what axe-core calls serious or critical on a page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    violations = axe.Axe().run(page).response["violations"]
    return [
        f"{v['id']}: {[n['target'] for n in v['nodes']][:4]}"
        for v in violations
        if v["impact"] in ("serious", "critical")
    ]
