"""What the page says. Change a line, save, and watch."""


def greet(name: str, hour: int) -> str:
    """Greet `name` as one does at that hour of the day, 0 to 23."""
    if hour < 5:
        return f"Still awake, {name}?"
    if hour < 12:
        return f"Good morning, {name}!"
    if hour < 18:
        return f"Good afternoon, {name}!"
    return f"Good evening, {name}!"
