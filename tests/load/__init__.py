"""A portal under load: sockets, streams, requests and readers at once."""
