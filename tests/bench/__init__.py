"""Figures of Tessera against the plain libraries: `make bench`, or `python -m tests.bench NAME ...`."""
