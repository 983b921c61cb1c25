"""The page, in a real browser: ask, watch the branches, see the receipt, stop; and what it must not run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from served import QUESTION, Served

SHOTS = os.environ.get("OUTTHINK_SHOTS")  # a folder, to look at the pages


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as one:
        yield one


def shoot(browser: Browser, name: str) -> None:
    if SHOTS:
        browser.picture(Path(SHOTS) / f"{name}.png")


def text(browser: Browser, place: str) -> str:
    return str(browser.js(f"document.getElementById('{place}').textContent"))


def test_ask_watch_and_pay(server: Served, browser: Browser) -> None:
    browser.go(server.url)
    browser.until("document.body.dataset.model === 'pocket'")
    assert browser.js("document.querySelectorAll('#strategies option').length") >= 8
    for name, value in {"question": QUESTION, "strategy": "vote(n=24)", "seed": "3"}.items():
        browser.js(f"document.getElementById('{name}').value = {value!r}")
    browser.js("document.getElementById('go').click()")
    grown: set[int] = set()
    while not browser.js("document.body.dataset.done"):
        grown.add(
            browser.js("[...document.querySelectorAll('line')].reduce((s, l) => s + l.x2.baseVal.value, 0)")
        )
        if len(grown) == 4:
            shoot(browser, "growing")
    assert len(grown) > 3  # it was seen to grow
    browser.until("document.querySelectorAll('#tree .best circle').length >= 1")
    shoot(browser, "done")
    reply = server.post(model="pocket+vote(n=24)", seed=3, temperature=0.8).json()
    assert text(browser, "answer") == reply["choices"][0]["message"]["content"]
    assert reply["outthink"]["answers"][0]["final"] in text(browser, "final")
    assert browser.js("document.querySelectorAll('#tree circle').length") == 24
    receipt = text(browser, "receipt")
    assert f"{reply['outthink']['receipt']['logical']['written']}" in receipt.replace(",", "")
    assert "vote(n=24)" in text(browser, "told") and "seed 3" in text(browser, "told")
    assert browser.said == []


def test_a_newcomer_is_told_what_to_do(server: Served, browser: Browser, capfd: Any) -> None:
    """Every example works at a click, every strategy has its line, the program does what the page did."""
    browser.go(f"{server.url}/?1")
    browser.until("document.body.dataset.model === 'pocket'")
    shoot(browser, "empty")
    assert not browser.js("document.getElementById('guide').hidden")
    labels = browser.js("[...document.querySelectorAll('#strategies option')].map((o) => o.label)")
    assert all(len(label) > 15 for label in labels)
    count = browser.js("document.querySelectorAll('.chip').length")
    assert count >= 3
    for i in range(count):
        browser.js(f"document.querySelectorAll('.chip')[{i}].click()")
        browser.until("document.body.dataset.done")
        assert text(browser, "error") == "" and text(browser, "final").startswith("= ")
        assert text(browser, "what").startswith(browser.js("strategy.value.split('(')[0]") + ": ")
    assert browser.js("document.getElementById('guide').hidden")
    exec(compile(text(browser, "code"), "page", "exec"), {})
    assert text(browser, "answer") in capfd.readouterr().out


def test_stop_gives_the_branches_up(server: Served, browser: Browser) -> None:
    browser.go(f"{server.url}/#strategy=vote(n=30)&ask=1&question=Count")
    browser.call("Page.reload")
    browser.until("document.querySelectorAll('#tree circle').length > 20")
    browser.js("document.getElementById('stop').click()")
    assert server.settles("live_branches", 0)
    browser.until("document.body.dataset.done")
    assert text(browser, "error") == ""


def test_errors_and_markup_are_text(server: Served, browser: Browser) -> None:
    browser.go(f"{server.url}/?2#strategy=vot&ask=1")
    browser.until("document.body.dataset.done")
    assert "did you mean 'vote'" in text(browser, "error")
    shoot(browser, "error")
    browser.js("lanes = new Map(), best = null, hear({written: 1, branches: [{branch: '', text: "
               "'<img src=x onerror=alert(1)>', tokens: 3, born: true}]}), draw()")  # fmt: skip
    assert browser.js("document.querySelector('.said').textContent").startswith("<img")
    assert browser.js("document.images.length") == 0
    browser.said.clear()
    browser.js(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))"
    )
    assert browser.js("window.ran === undefined")  # only the page's own script may run


def test_the_api_page(server: Served, browser: Browser) -> None:
    browser.said.clear()
    browser.go(f"{server.url}/docs")
    browser.until("document.querySelectorAll('td').length > 60")
    shoot(browser, "docs")
    assert "logit_bias" in text(browser, "paths") and browser.said == []
