"""Figures and ends in words, the same in all reports."""

import signal


def duration(took_ms: float) -> str:
    """In the unit that suits it: `15 ms`, `2.42 s`, `1 m 5 s`."""
    if took_ms < 999.5:
        return f"{took_ms:.0f} ms"
    if took_ms < 59_995:
        return f"{took_ms / 1000:.2f} s"
    minutes, seconds = divmod(round(took_ms / 1000), 60)
    return f"{minutes} m {seconds} s"


def ended(exit_code: int | None) -> str:
    """What an exit code (-N where signal N ended it) says."""
    if exit_code is None:
        return "no exit status"
    return f"killed by {_signal_name(-exit_code)}" if exit_code < 0 else f"exit status {exit_code}"


def count(number: int, noun: str) -> str:
    """`1 line`, `2,000 lines`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
