"""The engines that are compared: how each is found or installed, started, and what it printed."""
import json
import os
import resource
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import machine

HERE = Path(__file__).resolve().parent


class EngineError(Exception):
    """An engine can not be had, or can not run a model; the text says why."""


def cache():
    """Where engines and models are kept: never in the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tern-bench"


def run(command, timeout, env=None, cwd=None):
    """Runs it to its end; returns its stdout and what it cost. EngineError has the last line of stderr."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        busy, begin = machine.busy_seconds(), time.monotonic()
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd, env={**os.environ, **(env or {})}
            )
        except OSError as e:
            raise EngineError(f"{command[0]}: {e.strerror}") from e
        timer = threading.Timer(timeout, child.kill)
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        cost = {
            "wall_s": time.monotonic() - begin,
            "busy_s": machine.busy_seconds() - busy,
            "own_s": usage.ru_utime + usage.ru_stime,
            "rss_mb": round(usage.ru_maxrss / 1024, 1),
        }
        out.seek(0)
        err.seek(0)
        if child.returncode != 0:
            lines = [line for line in err.read().splitlines() if line.strip()]
            why = lines[-1] if lines else f"exit code {child.returncode}"
            if cost["wall_s"] >= timeout:
                why = f"not done in {timeout:.0f} seconds"
            raise EngineError(why[:200])
        return out.read(), cost


class Tern:
    """`tern bench --json`; its first run is the warm-up."""

    name = "tern"

    def __init__(self, tern, cpu):
        self.tern, self.cpu = tern, cpu
        self.info = json.loads(run([tern, "info", "--json"], 60)[0])
        self.version = self.info["version"]
        self.tier = cpu or self.info["cpu"]["tier"]

    def measure(self, model, threads, seconds):
        command = [self.tern, "bench", str(model.path), "--threads", str(threads), "--seconds", str(seconds)]
        command += ["--warmup", "0", "--json"]
        if self.cpu:
            command += ["--cpu", self.cpu]
        if model.input:
            command += ["--input", str(model.input)]
        out, cost = run(command, seconds * 3 + 120)
        got = json.loads(out)
        return {k: got[k] for k in ("min_ms", "median_ms", "runs", "load_ms", "macs", "peak_gflops")}, cost


    def layers(self, model, threads, seconds):
        """The layers that take over 2 % of a run, slowest first, with their share of the peak in direct convolution."""
        command = [self.tern, "profile", str(model.path), "--threads", str(threads), "--seconds", str(seconds)]
        command += ["--top", "0", "--json", *(["--cpu", self.cpu] if self.cpu else [])]
        got = json.loads(run(command, seconds * 3 + 120)[0])
        nodes = [n for n in got["nodes"] if not n["in_subgraph"]]
        total = sum(n["min_ms"] for n in nodes)
        found = []
        for n in sorted(nodes, key=lambda n: -n["min_ms"]):
            if n["min_ms"] > 0.02 * total:
                gflops = 2e-6 * n["macs"] / n["min_ms"]
                found.append({
                    "name": n["name"], "op_type": n["op_type"], "kernel": n["kernel"], "shapes": n["shapes"],
                    "min_ms": n["min_ms"], "percent_of_time": 100 * n["min_ms"] / total, "gflops": gflops,
                    "percent_of_peak": 100 * gflops / got["peak_gflops"] if got["peak_gflops"] else 0,
                })
        return found


class Adapter:
    """A command that gets MODEL THREADS SECONDS and prints milliseconds."""

    def __init__(self, name, command, env=None):
        self.name, self.command, self.env, self.version = name, command, env or {}, ""

    def measure(self, model, threads, seconds):
        env = {**self.env, "TERN_BENCH_SHAPE": "x".join(map(str, model.shape))}
        out, cost = run([*self.command, str(model.path), str(threads), str(seconds)], seconds * 3 + 120, env)
        return self.parse(out), cost

    def parse(self, out):
        """Lines are `version TEXT`, `load MILLISECONDS`, or the milliseconds of one run."""
        times, result = [], {}
        for line in out.split("\n"):
            key, _, value = line.strip().partition(" ")
            try:
                if key == "version":
                    self.version = value
                elif key == "load":
                    result["load_ms"] = float(value)
                elif key:
                    times.append(float(key))
            except ValueError:
                raise EngineError(f"printed '{line[:60]}' where milliseconds belong") from None
        times.sort()
        if not times or not times[0] > 0:
            raise EngineError("printed no times")
        result.update(min_ms=times[0], median_ms=times[(len(times) - 1) // 2], runs=len(times))
        return result


def parse_adapter(text):
    """NAME=COMMAND, the command in shell words."""
    name, equals, command = text.partition("=")
    words = shlex.split(command)
    if not equals or not name or not words:
        raise ValueError(f"an engine is NAME=COMMAND, not '{text}'")
    return Adapter(name, words)


def onnxruntime(say):
    """ONNX Runtime: where $TERN_ORT (a node_modules folder) has it, else from npm into the cache."""
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            raise EngineError(f"{tool} is not installed (apt-get install nodejs npm)")
    folder = Path(os.environ.get("TERN_ORT") or cache() / "npm" / "node_modules")
    if not (folder / "onnxruntime-node").is_dir():
        if "TERN_ORT" in os.environ:
            raise EngineError(f"there is no onnxruntime-node in {folder} (TERN_ORT)")
        say(f"installing onnxruntime-node from npm into {folder.parent}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        # The package brings the library for the CPU; its scripts would fetch the one for GPUs.
        install = ["npm", "install", "--prefix", str(folder.parent), "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            run([*install, "onnxruntime-node"], 600)
        except EngineError as e:
            raise EngineError(f"npm did not install it: {e}") from None
    return Adapter("ONNX Runtime", ["node", str(HERE / "adapters/ort.js")], {"NODE_PATH": str(folder)})


def unpack_debian(package, folder, say):
    """Downloads a Debian package and those it needs that are not installed, and unpacks them into folder."""
    missing = ["apt-get", "install", "--simulate", "-qq", "--no-install-recommends", package]
    names = [line.split()[1] for line in run(missing, 120)[0].splitlines() if line.startswith("Inst ")]
    if not names:
        raise EngineError(f"apt-get finds no {package} to install")
    say(f"unpacking {package} and {len(names) - 1} packages that it needs into {folder}")
    with tempfile.TemporaryDirectory() as debs:
        run(["apt-get", "download", "-q", *names], 900, cwd=debs)
        partial = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for deb in sorted(Path(debs).glob("*.deb")):
            run(["dpkg", "-x", str(deb), str(partial)], 300)
        partial.rename(folder)


def debian_environment(folder):
    """Variables with which Debian's Python finds what was unpacked into folder."""
    libraries = sorted({str(so.parent) for so in folder.rglob("*.so.*")})
    return {
        "LD_LIBRARY_PATH": ":".join([*libraries, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]),
        "PYTHONPATH": str(folder / "usr/lib/python3/dist-packages"),
    }


def opencv(say, cpu):
    """OpenCV, held to AVX2 when cpu is "avx2": Debian's python3-opencv, installed or unpacked into the cache."""
    # Debian's interpreter: another one on the PATH does not see Debian's modules.
    python, folder, env = "/usr/bin/python3", cache() / "opencv", {}
    probe = [python, "-c", "import cv2"]
    if not os.access(python, os.X_OK):
        raise EngineError("Debian's python3 is not installed (apt-get install python3-opencv)")
    try:
        run(probe, 60)
    except EngineError:
        try:
            if not folder.is_dir():
                unpack_debian("python3-opencv", folder, say)
            env = debian_environment(folder)
            run(probe, 60, env)
        except EngineError as e:
            raise EngineError(f"python3-opencv is not installed and can not be unpacked into the cache: {e}") from None
    if cpu == "avx2":
        env["OPENCV_CPU_DISABLE"] = "AVX512-SKX,AVX512-CNL,AVX512-CLX,AVX512-ICL,AVX512-COMMON,AVX512F"
    return Adapter("OpenCV", [python, str(HERE / "adapters/opencv.py")], env)


def no_core_files():
    """Cores of crashed engines are of no use."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
