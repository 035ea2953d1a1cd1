"""What the shared cache writes into Redis: JSON, so that who can write there can make nobody run anything.

Django's own serializer is a pickle, and reading one is running what it says.
"""

import json
from typing import Any


class JsonSerializer:
    """For OPTIONS["serializer"] of Django's RedisCache. Tuples come back as lists; whole numbers can be counted up."""

    def dumps(self, value: Any) -> bytes:
        """Raises TypeError for what JSON cannot say."""
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()

    def loads(self, data: bytes) -> Any:
        """Raises ValueError for anything but JSON."""
        return json.loads(data)
