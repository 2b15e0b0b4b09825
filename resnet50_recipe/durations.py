"""How long something takes, to be read by people."""

from .words import counted


def duration(seconds: float) -> str:
    """In the unit that fits: less than a second, 45 seconds, 15.5 minutes, 3.2 hours, 12 days."""
    if seconds < 1:
        return "less than a second"
    for unit, length, most in (("second", 1, 90), ("minute", 60, 90), ("hour", 3600, 48)):
        if seconds / length < most:
            return counted(round(seconds / length, 1), unit)
    return counted(round(seconds / 86400, 1), "day")


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03, or 2:03 where there are no hours."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
