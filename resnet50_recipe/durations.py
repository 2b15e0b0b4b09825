"""How long something takes, to be read by people."""


def duration(seconds: float) -> str:
    """In the unit that fits: 45 seconds, 15.5 minutes, 3.2 hours, 12 days."""
    for unit, length, most in (("seconds", 1, 90), ("minutes", 60, 90), ("hours", 3600, 48)):
        if seconds / length < most:
            return f"{seconds / length:.1f} {unit}".replace(".0 ", " ")
    return f"{seconds / 86400:.1f} days".replace(".0 ", " ")


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03, or 2:03 where there are no hours."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
