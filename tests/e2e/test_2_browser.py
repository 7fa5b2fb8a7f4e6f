"""A person's way: open the page, log in, pick the model, ask, and see the answer stream; then find the trace in Phoenix."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import missing
from tests.e2e.conftest import PORT, Clone

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

# Chromium would look its maker's servers up at every start.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        missing("no chromium on PATH (apt install chromium)")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=FLAGS)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{os.environ['PYTEST_CURRENT_TEST'].split('::')[-1].split()[0]}.png"))
    context.close()


def test_log_in_ask_and_see_the_answer_stream(lab: Clone, page: Page) -> None:
    secrets = lab.secrets()
    page.goto(f"http://open-webui.gpu-lab.localhost:{PORT}/")
    page.get_by_label("Email").fill(secrets["OPEN_WEBUI_ADMIN_EMAIL"])
    page.locator("input[type=password]").fill(secrets["OPEN_WEBUI_ADMIN_PASSWORD"])
    page.get_by_role("button", name="Sign in").click()
    box = page.locator("#chat-input")
    expect(box).to_be_visible()
    notes = page.get_by_role("button", name="Okay")  # the notes of a new release, shown to each user once
    notes.click()
    page.get_by_role("button", name="local/smollm2").first.click()
    page.get_by_role("option", name="Select local/smollm2 model").click()
    box.click()
    page.keyboard.type("Count from one to twenty in words.")
    page.keyboard.press("Enter")
    answer = page.locator("[id^='message-'] .chat-assistant, .chat-assistant").last
    expect(answer).to_be_visible()
    # It streams: the text is seen to grow after it has begun.
    page.wait_for_function("() => (document.querySelector('.chat-assistant')?.innerText ?? '').trim().length > 0")
    first = len(answer.inner_text())
    page.wait_for_function("(n) => (document.querySelector('.chat-assistant')?.innerText ?? '').length > n", arg=first)


def test_the_trace_is_on_phoenix_page(lab: Clone, page: Page) -> None:
    lab.lab("chat", "What is the capital of France?")
    password = lab.secrets()["PHOENIX_ADMIN_PASSWORD"]
    page.goto(f"http://phoenix.gpu-lab.localhost:{PORT}/login")
    page.get_by_label("Email").fill("admin@localhost")
    page.locator("input[type=password]").fill(password)
    page.get_by_role("button", name="Log In").click()
    # Phoenix lets the first administrator choose a password of their own.
    page.wait_for_url("**/reset-password*")
    fields = page.locator("input[type=password]")
    expect(fields).to_have_count(3)
    for field, value in zip(fields.all(), [password, f"{password}-2", f"{password}-2"], strict=True):
        field.fill(value)
    page.get_by_role("button", name="Reset Password").click()
    page.wait_for_url("**/login*")
    page.get_by_label("Email").fill("admin@localhost")
    page.locator("input[type=password]").fill(f"{password}-2")
    page.get_by_role("button", name="Log In").click()
    page.get_by_text("litellm", exact=True).first.click()
    expect(page.get_by_text("litellm_request").or_(page.get_by_text("litellm_proxy_request")).first).to_be_visible()
