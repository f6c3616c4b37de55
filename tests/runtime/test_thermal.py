"""Temperature and throttling, as Linux reports them, in a folder that stands for /sys."""

from pathlib import Path

import pytest

from compiler.runtime.thermal import Watch

CPU = "devices/system/cpu"


def write(root: Path, **files: object) -> None:
    for name, value in files.items():
        path = root / PATHS[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")


PATHS = {
    "zone0": "class/thermal/thermal_zone0/temp",
    "zone1": "class/thermal/thermal_zone1/temp",
    "cooling_type": "class/thermal/cooling_device0/type",
    "cooling_state": "class/thermal/cooling_device0/cur_state",
    "fan_type": "class/thermal/cooling_device1/type",
    "fan_state": "class/thermal/cooling_device1/cur_state",
    "limit0": CPU + "/cpu0/cpufreq/scaling_max_freq",
    "limit4": CPU + "/cpu4/cpufreq/scaling_max_freq",
    "core_count": CPU + "/cpu0/thermal_throttle/core_throttle_count",
    "package_count": CPU + "/cpu1/thermal_throttle/package_throttle_count",
    "firmware": "devices/platform/soc/soc:firmware/get_throttled",
}


def test_a_machine_that_reports_nothing(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    assert watch.temperature() is None and watch.throttled() == ""


def test_the_hottest_zone_counts(tmp_path: Path) -> None:
    write(tmp_path, zone0=48300, zone1=61250)
    assert Watch(tmp_path).temperature() == 61.25
    write(tmp_path, zone1="no number")
    assert Watch(tmp_path).temperature() == 48.3


def test_a_cooling_device_that_slows_the_cpu(tmp_path: Path) -> None:
    write(tmp_path, cooling_type="thermal-cpufreq-0", cooling_state=0, fan_type="pwm-fan", fan_state=3)
    watch = Watch(tmp_path)
    assert not watch.throttled()
    write(tmp_path, cooling_state=2)
    assert watch.throttled() == "cooling device thermal-cpufreq-0 is active"
    write(tmp_path, cooling_state=-1)  # of a powerclamp that is off
    assert not watch.throttled()


def test_a_limit_that_came_down(tmp_path: Path) -> None:
    """One that was low from the start is the user's own, and steady."""
    write(tmp_path, limit0=2400000, limit4=1200000)
    watch = Watch(tmp_path)
    assert not watch.throttled()
    write(tmp_path, limit0=1500000)
    assert watch.throttled() == "the clock of cpu0 is limited to 1.50 of 2.40 GHz"
    watch.begin()
    assert watch.throttled(), "the next measurement is as slow"
    write(tmp_path, limit0=2300000)
    assert not watch.throttled()


@pytest.mark.parametrize("count", ["core_count", "package_count"])
def test_events_since_the_beginning(count: str, tmp_path: Path) -> None:
    write(tmp_path, core_count=5, package_count=7)
    watch = Watch(tmp_path)
    assert not watch.throttled()
    write(tmp_path, **{count: 8})
    assert "throttled for its temperature" in watch.throttled()
    watch.begin()
    assert not watch.throttled()


def test_the_firmware_of_a_raspberry_pi(tmp_path: Path) -> None:
    write(tmp_path, firmware="50000")  # it was throttled since it was started
    watch = Watch(tmp_path)
    assert not watch.throttled()
    write(tmp_path, firmware="50001")  # too little voltage, which alone does not slow it
    assert not watch.throttled()
    for state in ("50004", "50002", "50008"):  # now
        write(tmp_path, firmware=state)
        assert watch.throttled() == f"the firmware lowers the clock (state 0x{state})"
    write(tmp_path, firmware="d0000")  # in the meantime
    assert watch.throttled()
    watch.begin()
    assert not watch.throttled()
