"""Energy and CO2 of a training run, estimated from its hours: nothing was metered."""

from dataclasses import dataclass
from typing import Any


# Watts that a device may draw, by the name that its driver gives it: NVIDIA's data sheets.
DEVICE_POWER = {
    "Tesla T4": 70,
    "Tesla V100-SXM2-16GB": 300,
    "Tesla V100-SXM2-32GB": 300,
    "NVIDIA L4": 72,
    "NVIDIA A100-PCIE-40GB": 250,
    "NVIDIA A100 80GB PCIe": 300,
    "NVIDIA A100-SXM4-40GB": 400,
    "NVIDIA A100-SXM4-80GB": 400,
    "NVIDIA H100 PCIe": 350,
    "NVIDIA H100 80GB HBM3": 700,
    "NVIDIA H200": 700,
    "NVIDIA GeForce RTX 3090": 350,
    "NVIDIA GeForce RTX 4090": 450,
}
# Watts of a CPU core of which nothing is known: Green Algorithms (Lannelongue et al. 2021).
CPU_CORE_POWER = 12
# Energy of a data centre over that of its computers, on average: Uptime Institute, Global Data Center Survey 2024.
PUE = 1.56
# kg of CO2 for a kWh of the world's electricity in 2024: Ember, Global Electricity Review 2025.
GRID_INTENSITY = 0.473


@dataclass(frozen=True)
class Footprint:
    """
    Attributes:
        energy: kWh, with the data centre's own share.
        co2: kg.
    """

    energy: float
    co2: float


def estimate_footprint(history: list[dict[str, Any]], sessions: list[dict[str, Any]]) -> Footprint | None:
    """
    Full power of all devices that trained, for as long as training, validation and saving took. The rest of the
    machines is left out, and work that was lost to a failure.

    Args:
        history: rows of metrics.jsonl, whose `seconds` add up from row to row.
        sessions: of environment.json.

    Returns:
        None if the power of one of the devices is not known here, or what a part of the run ran on.
    """
    joules, seconds = 0.0, 0.0
    for row in history:
        session = session_of(row["epoch"], sessions)
        power = None if session is None else _power(session)
        if power is None:
            return None
        joules += power * (row["seconds"] - seconds)
        seconds = row["seconds"]
    energy = joules / 3.6e6 * PUE
    return Footprint(energy, energy * GRID_INTENSITY)


def assumed_power(sessions: list[dict[str, Any]]) -> list[str]:
    """What `estimate_footprint` took each kind of device for, a phrase each."""
    phrases = {}  # in their order, each once
    for session in sessions:
        if session["device_type"] == "cpu":
            phrases["cpu"] = f"{CPU_CORE_POWER} W for each CPU core (Green Algorithms, for an unknown one)"
        else:
            known = [name for name in session["devices"] if name in DEVICE_POWER]
            phrases |= {name: f"{DEVICE_POWER[name]} W for each {name} (its nominal power)" for name in known}
    return list(phrases.values())


def session_of(epoch: int, sessions: list[dict[str, Any]]) -> dict[str, Any] | None:
    """
    The start of the run in which an epoch was finished: the last that began with it or before. None: that is not
    known, as for a run that goes on in another folder, from a checkpoint alone.
    """
    return next((session for session in reversed(sessions) if session["first_epoch"] <= epoch), None)


def _power(session: dict[str, Any]) -> float | None:
    """Watts of all devices, if they are known."""
    if session["device_type"] == "cpu":
        return CPU_CORE_POWER * session["cpu_cores"]
    if not session["devices"].keys() <= DEVICE_POWER.keys():
        return None
    return sum(DEVICE_POWER[name] * count for name, count in session["devices"].items())
