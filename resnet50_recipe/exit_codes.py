"""What the programs of this project end with."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Each with its `meaning`. 69 and 75 are sysexits' EX_UNAVAILABLE and EX_TEMPFAIL, 130 is what shells give."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "ExitCode":
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "done"
    FAILED = 1, "a check failed, an image was unreadable, or something unexpected"
    USAGE = 2, "yours to mend: the message says how"
    NOT_PUBLISHED = 69, "done, but not all of it is on the Hub: resnet50 publish"
    STOPPED = 75, "training stopped, with a checkpoint: resume it"
    INTERRUPTED = 130, "Ctrl-C"
