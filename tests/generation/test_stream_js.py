"""stream.js in a real browser: whatever is lost, doubled or reordered, the canvas never shows a wrong picture."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import browser as chromium
from tests.generation.stage import BAND, CARD, CARD_OF_TWO, PAYLOAD, REQUEST, Stage, band, encode, picture, preview

pytestmark = pytest.mark.browser
BANDS = range(8)
CONNECTION = "document.querySelector('[data-stream-connection]')"


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    # Per module: while Playwright is open no test with an event loop can run in this process.
    path = chromium.needed()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=chromium.ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def stage(chrome: Browser) -> Iterator[Stage]:
    page = chrome.new_page()
    made = Stage(page, CARD.format(id=REQUEST, state="running"))
    made.until(resumed=1)
    made.heard.clear()
    yield made
    assert [error for error in made.errors if "404" not in error] == []
    page.close()


def test_fragments_appear_in_order_and_are_acknowledged(stage: Stage) -> None:
    cat = picture(1)
    for sequence in BANDS:
        stage.send(band(cat, sequence))
        stage.until(acked=sequence + 1)
        rows = (sequence + 1) * BAND
        assert np.array_equal(stage.canvas()[:rows], cat[:rows])
        assert not stage.canvas()[rows:].any()
    assert (stage.data("paints"), stage.data("step"), stage.data("steps")) == ("8", "8", "8")
    assert stage.page.locator("[data-request-progress-text]").text_content() == "Step 8 of 8"
    assert stage.page.locator("progress").evaluate("bar => bar.value") == 100


@pytest.mark.parametrize("seed", range(5))
def test_reordered_and_doubled_fragments_give_the_right_picture(stage: Stage, seed: int) -> None:
    cat, dice = picture(seed), random.Random(seed)  # noqa: S311 a shuffle for a test
    frames = [band(cat, sequence) for sequence in BANDS] * 2
    dice.shuffle(frames)
    stage.send(*frames)
    stage.until(acked=16)
    assert np.array_equal(stage.canvas(), cat)
    assert stage.data("paints") == "8"


def test_a_lost_fragment_is_asked_for_and_nothing_is_painted_beyond_the_gap(stage: Stage) -> None:
    cat = picture(2)
    stage.send(*[band(cat, sequence) for sequence in BANDS if sequence != 3])
    stage.until(acked=7, resumed=1)
    assert np.array_equal(stage.canvas()[: 3 * BAND], cat[: 3 * BAND])
    assert not stage.canvas()[3 * BAND :].any()
    assert stage.resumes()[0] == {"type": "resume", "request": REQUEST, "run": 1, "have": {"0": 3}}
    stage.until(resumed=2)
    stage.send(*[band(cat, sequence) for sequence in BANDS if sequence >= 3])
    stage.until(acked=12)
    assert np.array_equal(stage.canvas(), cat)


def test_previews_sharpen_and_an_older_one_never_comes_back(stage: Stage) -> None:
    final = picture(3)
    stage.send(preview(picture(4, 8, 8), 0), preview(final, 2), preview(picture(5, 16, 16), 1), preview(final, 2))
    stage.until(acked=4)
    assert np.array_equal(stage.canvas(), final)
    assert stage.data("paints") == "2"


def test_a_small_preview_covers_the_whole_canvas_smoothly(stage: Stage) -> None:
    small = np.zeros((8, 8, 3), dtype=np.uint8)
    small[:, 4:] = 255
    stage.send(preview(small, 0))
    stage.until(acked=1)
    row = stage.canvas()[32, :, 0]
    assert (row[0], row[-1]) == (0, 255)
    assert len(set(row.tolist())) > 2, "without smoothing there would be two values"


def test_a_preview_never_paints_over_fragments(stage: Stage) -> None:
    cat = picture(6)
    stage.send(band(cat, 0), preview(picture(7), 0), band(cat, 1))
    stage.until(acked=3)
    assert np.array_equal(stage.canvas()[: 2 * BAND], cat[: 2 * BAND])
    assert not stage.canvas()[2 * BAND :].any()


def test_a_new_run_clears_and_an_old_one_is_silent(stage: Stage) -> None:
    old, new = picture(8), picture(9)
    stage.send(*[band(old, sequence) for sequence in range(4)])
    stage.send(band(new, 0, run=2), band(old, 4), preview(old, 9), band(old, 0, run=1))
    stage.until(acked=8)
    assert np.array_equal(stage.canvas()[:BAND], new[:BAND])
    assert not stage.canvas()[BAND:].any()


def test_a_new_run_told_by_text_clears_too(stage: Stage) -> None:
    stage.send(band(picture(8), 0))
    stage.until(acked=1)
    stage.state("loading", run=2, version=3)
    stage.wait("() => document.querySelector('article').dataset.run === '2'")
    assert not stage.canvas().any()


def test_broken_bytes_are_asked_for_again(stage: Stage) -> None:
    cat = picture(10)
    good = [band(cat, sequence) for sequence in BANDS]
    stage.send(good[0], good[1][:60] + b"rubbish", good[2], b"TFx", b"")
    stage.until(acked=5, resumed=1)
    assert stage.resumes()[-1]["have"] == {"0": 0}
    stage.send(*good)
    stage.until(acked=13)
    assert np.array_equal(stage.canvas(), cat)


def finish(stage: Stage, name: str = "/picture.png", **more: object) -> None:
    image = {"id": "x", "index": 0, "url": name, "thumb": name, "page": "/page/", "width": 64, "height": 64}
    stage.state("completed", version=5, images=[image], **more)


def test_the_final_replaces_all_in_one_go_and_nothing_is_painted_after(stage: Stage) -> None:
    drawn, final = picture(11), picture(12)
    stage.files["/picture.png"] = encode(final, "PNG")
    stage.page.evaluate(
        "() => { window.ends = 0; document.addEventListener('tessera:final', () => { window.ends += 1; }); }"
    )
    stage.send(*[band(drawn, sequence) for sequence in range(5)])
    finish(stage)
    stage.send(*[band(drawn, sequence) for sequence in range(5, 8)], band(drawn, 0, run=2))
    finish(stage)
    stage.wait("() => window.ends > 0")
    stage.until(acked=9)
    assert np.array_equal(stage.canvas(), final)
    assert stage.data("final") == "true"
    assert stage.page.evaluate("window.ends") == 1
    assert stage.page.locator("[data-picture-link]").get_attribute("href") == "/page/"
    assert stage.page.locator("[data-request-state]").text_content() == "Done"
    assert not stage.page.locator("[data-request-cancel]").is_visible()


def test_what_is_kept_while_the_others_wait_is_wiped_by_no_later_run(chrome: Browser) -> None:
    page = chrome.new_page()
    stage = Stage(page, CARD_OF_TWO.format(id=REQUEST, state="running"))
    stage.until(resumed=1)
    first, second = picture(21), picture(22)
    stage.files["/first.png"] = encode(first, "PNG")
    image = {"id": "x", "index": 0, "url": "/first.png", "thumb": "", "page": "/page/", "width": 64, "height": 64}
    stage.send(*[band(first, sequence) for sequence in range(4)])
    stage.state("queued", version=4, count=2, kept=1, images=[image], position=1)
    stage.wait("() => document.querySelector('[data-canvas]').dataset.final === 'true'")
    assert page.locator("[data-request-progress-text]").text_content() == "1 of 2 drawn"
    stage.state("running", version=5, run=2, count=2, kept=1, images=[image])
    stage.send(band(first, 5), *[band(second, sequence, run=2, index=1) for sequence in range(4)])
    stage.until(acked=9)
    assert np.array_equal(stage.canvas(0), first)
    assert np.array_equal(stage.canvas(1)[: 4 * BAND], second[: 4 * BAND])
    assert page.locator("[data-request-progress]").evaluate("(bar) => bar.value") == 75
    assert page.locator("[data-request-progress-text]").text_content() == "Picture 2 of 2, Step 4 of 8"
    assert stage.errors == []
    page.close()


def test_a_final_that_cannot_be_loaded_keeps_what_was_drawn_and_still_ends(stage: Stage) -> None:
    drawn = picture(13)
    stage.page.evaluate("() => document.addEventListener('tessera:final', () => { window.ended = true; })")
    stage.send(*[band(drawn, sequence) for sequence in BANDS])
    finish(stage, "/gone.png")
    stage.wait("() => window.ended")
    assert np.array_equal(stage.canvas(), drawn)
    assert stage.data("final") is None


def test_the_note_goes_with_the_first_frame_and_a_later_one_stays(stage: Stage) -> None:
    note, cat = stage.page.locator("[data-request-note]"), picture(15)
    stage.tell(type="request.note", request={**PAYLOAD, "note": "Loaded starter-diffusion"})
    stage.wait("() => document.querySelector('[data-request-note]').textContent.startsWith('Loaded')")
    stage.send(band(cat, 0))
    stage.until(acked=1)
    assert (note.text_content(), note.is_visible()) == ("", False)
    stage.tell(type="request.note", request={**PAYLOAD, "note": "Memory is short"})
    stage.send(band(cat, 1))
    stage.until(acked=2)
    assert note.text_content() == "Memory is short"


def test_words_grow_and_those_of_an_older_run_are_silent(stage: Stage) -> None:
    answer = stage.page.locator("[data-request-answer]")

    def say(text: str, run: int) -> None:
        stage.tell(type="request.words", words={"id": REQUEST, "run": run, "text": text})

    stage.page.locator("[data-request]").evaluate("card => { card.dataset.capability = 'describe'; }")
    stage.state("running", run=1)
    stage.wait("() => document.querySelector('[data-request-state]').textContent === 'Describing'")
    assert answer.is_hidden()
    for text in ("a", "a cat"):
        say(text, 1)
    stage.wait("() => document.querySelector('[data-request-answer]').textContent === 'a cat'")
    assert answer.is_visible()
    stage.state("queued", run=1, version=5)
    stage.wait("() => document.querySelector('[data-request-answer]').hidden")
    say("a dog", 2)
    say("a cat on", 1)
    stage.wait("() => document.querySelector('[data-request-answer]').textContent === 'a dog'")
    stage.state("completed", run=2, version=9, answer="a dog on blue", images=[])
    stage.wait("() => document.querySelector('[data-request-answer]').textContent === 'a dog on blue'")
    say("a late word", 2)
    stage.wait("() => document.querySelector('[data-stream-announcer]').textContent.includes('a dog on blue')")
    assert answer.text_content() == "a dog on blue"


def test_a_pause_is_shown_as_long_as_it_lasts(stage: Stage) -> None:
    stage.page.evaluate(
        "() => document.body.insertAdjacentHTML('afterbegin', '<p data-stream-paused hidden>Paused</p>')"
    )
    for paused, shown in ((True, True), (None, True), (False, False)):
        stage.tell(type="snapshot", requests=[], positions={}, **({} if paused is None else {"paused": paused}))
        stage.wait(f"() => document.querySelector('[data-stream-paused]').hidden === {str(not shown).lower()}")


def test_failure_tells_the_reason_and_offers_another_try(stage: Stage) -> None:
    error = {"code": "out_of_memory", "message": "The device has not enough memory.", "hint": "Draw it smaller."}
    stage.state("failed", version=4, error=error)
    stage.wait("() => document.querySelector('article').dataset.state === 'failed'")
    assert stage.page.locator("[data-request-error-message]").text_content() == error["message"]
    assert stage.page.locator("[data-request-error-hint]").is_visible()
    assert stage.page.locator("[data-request-retry]").is_visible()
    assert stage.page.locator("[data-request-cancel]").is_disabled()
    assert stage.page.locator("[data-stream-announcer]").text_content() == f"Failed: {error['message']}"


def test_an_older_state_is_ignored_and_the_place_is_told_in_words(stage: Stage) -> None:
    stage.state("queued", version=3, position=2)
    stage.state("running", version=2)
    stage.wait("() => document.querySelector('[data-request-position]').textContent === '2nd in the queue'")
    assert stage.page.locator("article").get_attribute("data-state") == "queued"
    stage.tell(type="queue.position", positions={REQUEST: 1}, waits={REQUEST: "done in about 15 s"})
    told = "Next in the queue, done in about 15 s"
    stage.wait(f"() => document.querySelector('[data-request-position]').textContent === '{told}'")
    stage.tell(type="queue.position", positions={REQUEST: 1})
    stage.wait("() => document.querySelector('[data-request-position]').textContent === 'Next in the queue'")


def test_a_lost_connection_is_shown_and_comes_back_with_what_was_missed(stage: Stage) -> None:
    cat = picture(14)
    stage.send(band(cat, 0))
    stage.until(acked=1)
    stage.sockets[-1].close(code=1011)
    stage.wait(f"() => {CONNECTION}.dataset.state === 'lost' && !{CONNECTION}.hidden")
    stage.wait(f"() => {CONNECTION}.hidden")
    assert len(stage.sockets) == 2
    stage.send(*[band(cat, sequence) for sequence in BANDS])
    stage.until(acked=8)
    assert np.array_equal(stage.canvas(), cat)


def test_logged_out_tries_once_more_and_then_stays_away(stage: Stage) -> None:
    stage.sockets[-1].close(code=4401)
    stage.wait(f"() => {CONNECTION}.dataset.state === 'lost'")
    stage.wait(f"() => {CONNECTION}.hidden")
    assert len(stage.sockets) == 2, "a session that holds gets in again"
    stage.page.route_web_socket("**/ws/studio/", lambda socket: socket.close(code=4401))
    stage.sockets[-1].close(code=4401)
    stage.wait(f"() => {CONNECTION}.dataset.state === 'closed'")
    assert "Log in" in str(stage.page.locator("[data-stream-connection]").text_content())


def test_an_open_card_that_the_snapshot_does_not_name_is_asked_for(stage: Stage) -> None:
    stage.page.wait_for_timeout(1100)
    stage.tell(type="snapshot", requests=[], positions={})
    stage.until(resumed=1)


def test_a_card_that_comes_later_gets_what_was_drawn_and_a_missing_one_is_told(stage: Stage) -> None:
    other = REQUEST[:-1] + "b"
    stage.page.evaluate(
        "() => document.addEventListener('tessera:missing', ({detail}) => { window.missing = detail.id; })"
    )
    stage.tell(type="request.state", request={**PAYLOAD, "id": other})
    stage.wait(f"() => window.missing === '{other}'")
    card = CARD.format(id=other, state="running")
    stage.page.evaluate("card => document.querySelector('section').insertAdjacentHTML('beforeend', card)", card)
    stage.until(resumed=1)
    assert stage.resumes()[-1]["request"] == other


def test_the_second_picture_of_a_request_has_its_own_canvas_order_and_final(chrome: Browser) -> None:
    stage = Stage(chrome.new_page(), CARD_OF_TWO.format(id=REQUEST, state="running"))
    stage.until(resumed=1)
    cat, dog, final = picture(21), picture(22), picture(23)
    stage.files["/picture.png"] = encode(final, "PNG")
    stage.send(*[band(cat, sequence) for sequence in BANDS])
    stage.send(preview(picture(24), 0, index=1))
    stage.send(*[band(dog, sequence, index=1) for sequence in BANDS if sequence != 2])
    stage.send(band(picture(25), 0, index=2))
    stage.until(acked=17, resumed=2)
    assert stage.resumes()[-1]["have"] == {"0": 8, "1": 2}
    assert np.array_equal(stage.canvas(0), cat)
    assert np.array_equal(stage.canvas(1)[: 2 * BAND], dog[: 2 * BAND])
    assert stage.page.locator("[data-request-progress-text]").text_content().startswith("Picture 2 of 2")
    stage.send(*[band(dog, sequence, index=1) for sequence in BANDS if sequence >= 2])
    stage.until(acked=23)
    assert np.array_equal(stage.canvas(1), dog)
    images = [{"id": "x", "index": 1, "url": "/picture.png", "thumb": "/", "page": "/page/", "width": 64, "height": 64}]
    stage.state("completed", version=5, count=2, images=images)
    stage.wait("() => document.querySelectorAll('canvas')[1].dataset.final")
    assert np.array_equal(stage.canvas(0), cat)
    assert np.array_equal(stage.canvas(1), final)
    stage.page.close()


def test_bytes_that_stay_broken_are_given_up_and_nothing_is_painted_beyond_the_hole(stage: Stage) -> None:
    cat, again = picture(26), picture(27)
    good = [band(cat, sequence) for sequence in BANDS]
    for asked in (1, 2):
        stage.send(good[0], good[1][:60] + b"rubbish")
        stage.until(resumed=asked)
    stage.send(good[0], good[1][:60] + b"rubbish", good[2], good[3])
    stage.until(acked=8)
    stage.send(*good[4:])
    stage.until(acked=12)
    assert np.array_equal(stage.canvas()[:BAND], cat[:BAND])
    assert not stage.canvas()[BAND:].any()
    stage.page.wait_for_timeout(1200)
    assert len(stage.resumes()) == 2, "what is given up is not asked for"
    stage.send(*[band(again, sequence, run=2) for sequence in BANDS])
    stage.until(acked=20)
    assert np.array_equal(stage.canvas(), again)


def test_a_lost_end_is_found_by_asking_now_and_then(chrome: Browser) -> None:
    page = chrome.new_page()
    page.clock.install()
    stage = Stage(page, CARD.format(id=REQUEST, state="running"))
    stage.until(resumed=1)
    page.clock.fast_forward(26_000)
    stage.wait_for_word("snapshot")
    stage.tell(type="snapshot", requests=[], positions={})
    stage.until(resumed=2)
    stage.state("failed", version=3, error={"code": "x", "message": "It broke.", "hint": ""})
    stage.wait("() => document.querySelector('article').dataset.state === 'failed'")
    stage.heard.clear()
    page.clock.fast_forward(26_000)
    stage.wait_for_word("ping")
    assert "snapshot" not in {message["type"] for message in stage.heard}
    page.close()


def test_what_was_asked_on_a_lost_connection_is_asked_again(stage: Stage) -> None:
    # The fixture has seen the page ask a moment ago, and one card is asked for once a second at most.
    stage.sockets[-1].close(code=1011)
    stage.until(resumed=1)
    assert len(stage.sockets) == 2


def test_words_and_waits(stage: Stage) -> None:
    script = """async () => { const { placeWords, backoff } = await import("/static/frames.js");
    return [[0, 1, 2, 3, 4, 11, 12, 13, 21, 22, 111].map(placeWords), [0, 3, 50].map((n) => backoff(n, 1))]; }"""
    words, waits = stage.page.evaluate(script)
    assert words == ["", "Next in the queue"] + [
        f"{place} in the queue" for place in ("2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "111th")
    ]
    assert waits == [500, 4000, 30000]
