"""What the machine is, and whether it was quiet."""
import os
import re
import subprocess
from pathlib import Path


def _first_line(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return ""
    return done.stdout.splitlines()[0] if done.stdout else ""


def _cpuinfo(key):
    found = re.search(rf"^{key}\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return found.group(1) if found else "?"


def _caches():
    """Caches of the first processor, as "48K L1d"."""
    found = []
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found.append(f"{size} L{level}{'d' if kind == 'Data' else ''}")
    return found


def _compiler(tern):
    """The compiler of the build folder that `tern` is in."""
    try:
        cache = (Path(tern).parent / "CMakeCache.txt").read_text()
    except OSError:
        return "unknown"
    compiler = re.search(r"^CMAKE_C_COMPILER:\w+=(.*)$", cache, re.M)
    return _first_line([compiler.group(1), "--version"]) if compiler else "unknown"


def describe(tern):
    """A dictionary of what times depend on."""
    return {
        "cpu": _cpuinfo("model name"),
        "cpu_family": f"family {_cpuinfo('cpu family')}, model {_cpuinfo('model')}",
        "processors": len(os.sched_getaffinity(0)),
        "caches": _caches(),
        "kernel": f"{os.uname().sysname} {os.uname().release}",
        "compiler": _compiler(tern),
        "load": round(os.getloadavg()[0], 2),
    }


def text(m):
    """One line for people."""
    return (
        f"{m['cpu']} ({m['cpu_family']}), {m['processors']} processors, {', '.join(m['caches'])}; {m['kernel']}; "
        f"{m['compiler']}; load average {m['load']:.2f} at the start"
    )


def busy_seconds():
    """Processor time that everything, this program and other guests of the host included, had on our processors."""
    ours = os.sched_getaffinity(0)
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        cpu = re.match(r"cpu(\d+) ", line)
        if cpu and int(cpu.group(1)) in ours:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


class Noise:
    """Collects, over all runs, what speaks against the times."""

    OTHERS = 0.05  # share of the processors that other programs may have
    SPREAD = 0.15  # by which the median of a cell may exceed its minimum, in most cells
    CLOCK = 0.15  # by which the speed of register-only arithmetic may vary

    def __init__(self):
        self.others_s = self.wall_s = 0.0
        self.peaks = {}  # (threads, tier) -> GFLOP/s that tern measured beside each of its runs

    def add_run(self, busy_s, own_s, wall_s):
        self.others_s += max(0.0, busy_s - own_s)
        self.wall_s += wall_s

    def add_peak(self, key, gflops):
        if gflops > 0:
            self.peaks.setdefault(key, []).append(gflops)

    def verdict(self, spreads):
        """{"quiet": bool, "reasons": [...], figures}; spreads: median over minimum, less one, of each cell."""
        processors = len(os.sched_getaffinity(0))
        others = self.others_s / (self.wall_s * processors) if self.wall_s else 0
        clock = max((max(p) / min(p) - 1 for p in self.peaks.values()), default=0)
        wide = sorted(spreads)[len(spreads) // 2] if spreads else 0
        reasons = []
        if others > self.OTHERS:
            reasons.append(f"other programs had {100 * others:.0f} % of the processors")
        if clock > self.CLOCK:
            reasons.append(f"the peak that arithmetic reached varied by {100 * clock:.0f} %")
        if wide > self.SPREAD:
            reasons.append(f"the median was {100 * wide:.0f} % above the minimum in half of the cells")
        return {
            "quiet": not reasons,
            "reasons": reasons,
            "others_share": round(others, 4),
            "clock_spread": round(clock, 4),
            "median_spread": round(wide, 4),
        }
