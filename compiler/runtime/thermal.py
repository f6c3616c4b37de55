"""Watches how hot a Linux machine is, and whether it lowers its clock for that. Needs nothing but Python 3.8.

Times that were measured meanwhile say more of the cooling than of what was measured. Elsewhere than on Linux nothing is
known, and nothing reported.
"""

from __future__ import annotations

from pathlib import Path

_LOWERED = 0.9  # of the highest limit of the clock that was seen; a lower one was set since
# Of the kernel's cooling devices, those that slow the CPU down rather than turn a fan on.
_SLOWING = ("cpufreq", "processor", "powerclamp")
# Bits of the Raspberry Pi's firmware: the clock is capped, throttled, or held by the soft limit of temperature.
_FIRMWARE_NOW, _FIRMWARE_SINCE_BOOT = 0xE, 0xE0000


class Watch:
    """Compares the machine's state with that of a moment ago.

    Args:
        root: where Linux reports it; another one in tests.
    """

    def __init__(self, root: Path = Path("/sys")) -> None:
        self._root = root
        self._limits: dict[str, int] = {}  # the highest that was seen of each CPU, in kHz
        self.begin()

    def begin(self) -> None:
        """Forgets what was until now: `throttled` is asked of what follows."""
        self._events, self._firmware = self._count_events(), self._read_firmware()
        self._lowered_limit()

    def temperature(self) -> float | None:
        """Degrees Celsius of the hottest zone; None if none is reported."""
        found = [_number(path) for path in self._root.glob("class/thermal/thermal_zone*/temp")]
        return max((number / 1000 for number in found if number is not None), default=None)

    def throttled(self) -> str:
        """Why the CPU is slower than it could be, or was since `begin`; empty if it is not."""
        for folder in self._root.glob("class/thermal/cooling_device*"):
            kind = _text(folder / "type")
            if any(name in kind.lower() for name in _SLOWING) and (_number(folder / "cur_state") or 0) > 0:
                return f"cooling device {kind:.40} is active"
        firmware = self._read_firmware()
        if firmware & _FIRMWARE_NOW or firmware & ~self._firmware & _FIRMWARE_SINCE_BOOT:
            return f"the firmware lowers the clock (state {firmware:#x})"
        if self._count_events() > self._events:
            return "the CPU was throttled for its temperature"
        return self._lowered_limit()

    def _lowered_limit(self) -> str:
        for path in self._root.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_max_freq"):
            limit, cpu = _number(path), path.parent.parent.name
            if limit is None:
                continue
            highest = self._limits[cpu] = max(limit, self._limits.get(cpu, 0))
            if limit < _LOWERED * highest:
                return f"the clock of {cpu} is limited to {limit / 1e6:.2f} of {highest / 1e6:.2f} GHz"
        return ""

    def _count_events(self) -> int:
        """How often CPUs were throttled since the machine was started, as x86 counts it."""
        paths = self._root.glob("devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
        return sum(_number(path) or 0 for path in paths)

    def _read_firmware(self) -> int:
        for path in self._root.glob("devices/platform/soc/*firmware/get_throttled"):
            return _number(path, 16) or 0
        return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:  # not there, or not for this user
        return ""


def _number(path: Path, base: int = 10) -> int | None:
    try:
        return int(_text(path), base)
    except ValueError:
        return None
