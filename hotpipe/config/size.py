"""Sizes as the configuration writes them."""

import re
from typing import Any

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(r"([0-9]{1,15})(B|KB|MB|GB)")


class Size(int):
    """Bytes; written `"512KB"`, `"256MB"`, `"1GB"`: powers of 1,000."""

    @classmethod
    def of(cls, text: object) -> "Size":
        """Raises ValueError for anything but such a text."""
        found = _SIZE.fullmatch(text) if isinstance(text, str) else None
        if not found:
            raise ValueError('must be a size such as "512KB", "256MB" or "1GB"')
        return cls(int(found[1]) * _UNITS[found[2]])

    def __str__(self) -> str:
        unit = next((u for u in ("GB", "MB", "KB") if self and not self % _UNITS[u]), "B")
        return f"{int(self) // _UNITS[unit]}{unit}"


SIZE_SCHEMA: dict[str, Any] = {"type": "string", "pattern": f"^{_SIZE.pattern}$"}
