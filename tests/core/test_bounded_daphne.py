"""What a body that is too large is answered: a page with a way back for a browser, a line for everything else."""

from core.bounded_daphne import answer


def test_a_browser_gets_a_page_with_a_link() -> None:
    head, body = answer([b"text/html,application/xhtml+xml,*/*;q=0.8"]).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"Content-Type: text/html; charset=utf-8" in head
    assert b"Content-Length: %d" % len(body) in head
    assert b'<a href="/">' in body
    assert b"larger than this portal takes" in body


def test_a_script_gets_a_line() -> None:
    for accept in ([], [b"*/*"], [b"application/json"]):
        head, body = answer(accept).split(b"\r\n\r\n")
        assert b"Content-Type: text/plain" in head
        assert b"<" not in body
