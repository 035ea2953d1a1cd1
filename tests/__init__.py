"""Tests mirror the code; `tests.browser` finds a Chromium, `tests.screenshots` draws the README's pictures."""
