"""`--json`: one event a line, and nothing else on standard output."""

from collections.abc import Sequence

from hotpipe.events import Stamped, to_json


class JsonLines:
    """The face for other programs."""

    def render(self, batch: Sequence[Stamped]) -> str:
        return "".join(f"{to_json(stamped).decode()}\n" for stamped in batch)
