#!/usr/bin/env python3
"""Times networks in tern and, in turns with it, in other engines: ./do bench --help."""
import argparse
import datetime
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import machine
import peers
import report
from peers import EngineError

ROOT = Path(__file__).resolve().parent.parent

# The table, in this order. bench/export_models.py makes the files.
NETWORKS = (
    "mnasnet0_5 mobilenet_v2 mobilenet_v3_small mobilenet_v3_large squeezenet1_1 shufflenet_v2_x1_0 resnet18 resnet50 "
    "densenet121 googlenet efficientnet_b0 regnet_y_400mf vgg16 vit_b_16 yolov5n yolov5s"
).split()

# Those of --others, which bench/other_models.py makes.
OTHERS = (
    "inception_v3 convnext_tiny swin_t unet fcn_resnet50 deeplabv3_mobilenet_v3_large r3d_18 superresolution "
    "dcgan transformer lstm gru"
).split()


def say(text):
    print(text, file=sys.stderr, flush=True)


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


# ---- models ---------------------------------------------------------------------------------------------------------


class Model:
    """A file whose input has the asked batch; `input` is an .npy for it, where there is one beside the file."""

    def __init__(self, name, path, batch, tern):
        self.name = name
        self.path = Path(path)
        if self.path.suffix != ".onnx":
            self.path = self.derive(tern, f"b{batch}", "--batch", str(batch), "--head", "raw")
        self.shape = self.input_shape(tern, batch)
        npy = self.path.with_suffix(".in.npy")
        self.input = npy if npy.exists() else None

    def input_shape(self, tern, batch):
        inputs = json.loads(peers.run([tern, "inspect", "--json", str(self.path)], 120)[0])["inputs"]
        shape, name = inputs[0]["shape"], inputs[0]["name"]
        if len(inputs) == 1 and shape and isinstance(shape[0], str):
            shape = [batch, *shape[1:]]
            if all(isinstance(d, int) for d in shape):
                # So that every engine gets the very same graph.
                fixed = f"{name}={'x'.join(map(str, shape))}"
                self.path = self.derive(tern, f"b{batch}", "--fix-shape", fixed, "--simplify")
        if not all(isinstance(d, int) for d in shape):
            raise EngineError(f"input {name} has free dims besides the batch (tern convert --fix-shape)")
        if shape and shape[0] != batch:
            raise EngineError(f"its batch is {shape[0]}, not {batch}")
        return shape

    def derive(self, tern, suffix, *options):
        """What `tern convert` makes of the file, kept in the cache under the name and time of the file."""
        stamp = self.path.stat().st_mtime_ns
        folder = peers.cache() / "converted"
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f"{self.path.stem}.{suffix}.{stamp:x}.onnx"
        if not made.exists():
            peers.run([tern, "convert", str(self.path), *options, "-o", str(made)], 300)
        return made


def file_of(folder, name, batch):
    return folder / (f"{name}.onnx" if batch == 1 else f"{name}.b{batch}.onnx")


def export_missing(folder, names, batch):
    """Makes the networks that the cache does not hold yet, with Debian's PyTorch; returns why it did not."""
    missing = [n for n in names if n in (*NETWORKS, *OTHERS, "mlp") and not file_of(folder, n, batch).exists()]
    if not missing:
        return None
    python = "/usr/bin/python3"
    if subprocess.run([python, "-c", "import torchvision"], capture_output=True, check=False).returncode != 0:
        return "python3-torch and python3-torchvision are not installed, so bench/export_models.py can not make it"
    say(f"exporting {len(missing)} networks with random weights into {folder}")
    command = [python, str(ROOT / "bench/export_models.py"), "--batch", str(batch), str(folder), *missing]
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    return "bench/export_models.py failed" if done.returncode != 0 else None


def shared_classifiers():
    """Test cases with real weights, when they are there: {name: path}."""
    shared = Path(os.environ.get("TERN_SHARED", ROOT.parent / "shared")) / "models" / "classify"
    return {p.parent.name: p for p in sorted(shared.glob("*/model.onnx"))}


def list_models(args, skipped):
    """[(name, path)] of what was asked for."""
    if args.model:
        return [(Path(m).stem, Path(m)) for m in args.model]
    if args.models:
        folder = Path(args.models)
        # NAME.b4.onnx is NAME for batches of 4.
        there = [p.stem for p in folder.glob("*.onnx") if not p.stem.rpartition(".b")[2].isdigit()]
        names = [n for n in NETWORKS if n in there] + sorted(set(there) - set(NETWORKS))
    else:
        folder, names = peers.cache() / "models", list(OTHERS if args.others else NETWORKS)
    shared = shared_classifiers() if args.batch == 1 and not args.others else {}
    known = [*names, *(n for n in shared if n not in names)]
    wanted = args.only or known
    for name in set(wanted) - set(known):
        raise EngineError(f"no network is called {name}; there are {' '.join(known)}")
    why = None if args.models else export_missing(folder, wanted, args.batch)
    found = []
    for name in sorted(wanted, key=known.index):
        path = shared.get(name) or file_of(folder, name, args.batch)
        if path.exists():
            found.append((name, path))
        else:
            skipped.append({"what": name, "why": why or f"there is no {path}"})
    return found


# ---- measuring ------------------------------------------------------------------------------------------------------


def merge(rounds):
    """Minimum of the minima, median of the medians."""
    medians = sorted(r["median_ms"] for r in rounds)
    cell = {
        "min_ms": min(r["min_ms"] for r in rounds),
        "median_ms": medians[(len(medians) - 1) // 2],
        "runs": sum(r["runs"] for r in rounds),
        "rss_mb": min(r["rss_mb"] for r in rounds),
        "rounds": [{k: r[k] for k in ("min_ms", "median_ms")} for r in rounds],
    }
    if all("load_ms" in r for r in rounds):
        cell["load_ms"] = min(r["load_ms"] for r in rounds)
    if "macs" in rounds[0]:
        cell["macs"] = rounds[0]["macs"]
        cell["peak_gflops"] = max(r["peak_gflops"] for r in rounds)
        flops = 2 * cell["macs"] / cell["min_ms"] * 1e-6
        cell["percent_of_peak"] = round(100 * flops / cell["peak_gflops"], 1) if cell["peak_gflops"] else None
    return cell


def measure(model, engines, threads, args, noise, what):
    """One row: every engine in turn, round after round, each in a process of its own."""
    rounds, failed = {e.name: [] for e in engines}, {}
    for r in range(args.rounds):
        turn = r % len(engines)  # nobody always comes first
        for engine in [*engines[turn:], *engines[:turn]]:
            if engine.name in failed:
                continue
            progress(f"{what}, {threads} threads, round {r + 1} of {args.rounds}: {engine.name}")
            try:
                got, cost = engine.measure(model, threads, args.seconds)
            except EngineError as e:
                failed[engine.name] = str(e)
                continue
            noise.add_run(cost["busy_s"], cost["own_s"], cost["wall_s"])
            if "peak_gflops" in got:
                noise.add_peak(threads, got["peak_gflops"])
            rounds[engine.name].append({**got, "rss_mb": cost["rss_mb"]})
    cells = {e.name: {"error": failed[e.name]} if e.name in failed else merge(rounds[e.name]) for e in engines}
    return {"model": model.name, "threads": threads, "batch": args.batch, "engines": cells}


def find_engines(args, skipped):
    engines = [peers.Tern(args.tern, args.cpu)]
    if not args.no_peers:
        for name, find in (
            ("ONNX Runtime", lambda: peers.onnxruntime(say)),
            ("OpenCV", lambda: peers.opencv(say, args.cpu)),
        ):
            try:
                engines.append(find())
            except EngineError as e:
                skipped.append({"what": name, "why": str(e)})
    return engines + [peers.parse_adapter(text) for text in args.peer]


def bench(args):
    skipped = []
    engines = find_engines(args, skipped)
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": {**machine.describe(args.tern), "tier": engines[0].info["cpu"]["machine_tier"]},
        "settings": {"rounds": args.rounds, "seconds": args.seconds, "batch": args.batch, "cpu": engines[0].tier},
        "skipped": skipped,
        "rows": [],
    }
    noise = machine.Noise()
    models = list_models(args, skipped)
    for threads in args.threads:
        for i, (name, path) in enumerate(models):
            try:
                model = Model(name, path, args.batch, args.tern)
            except EngineError as e:
                if threads == args.threads[0]:
                    skipped.append({"what": name, "why": str(e)})
                continue
            what = f"[{i + 1}/{len(models)}] {name}"
            row = measure(model, engines, threads, args, noise, what)
            if args.layers and "error" not in row["engines"]["tern"]:
                row["layers"] = engines[0].layers(model, threads, args.seconds * args.rounds)
            result["rows"].append(row)
    progress("")
    cells = [c for row in result["rows"] for c in row["engines"].values() if "min_ms" in c]
    result["noise"] = noise.verdict([c["median_ms"] / c["min_ms"] - 1 for c in cells])
    result["engines"] = [{"name": e.name, "version": e.version} for e in engines]
    return result


# ---- the command ----------------------------------------------------------------------------------------------------


def thread_list(text):
    values = [int(t) for t in text.split(",")]
    if not values or not all(1 <= t <= 1024 for t in values):
        raise ValueError
    return values


def positive(kind):
    def parse(text):
        value = kind(text)
        if not (value > 0 and math.isfinite(value)):
            raise ValueError
        return value

    parse.__name__ = f"positive {kind.__name__}"
    return parse


def parse_arguments(argv):
    p = argparse.ArgumentParser(
        prog="./do bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Times networks in tern, ONNX Runtime and OpenCV, in turns, and prints a table in Markdown.",
        epilog="""examples:
  ./do bench                                        the whole table, one thread
  ./do bench --only resnet50 yolov5s --threads 1,2 --rounds 9
  ./do bench --others                               segmentation, video, generators, transformers, recurrent layers
  ./do bench --no-peers --layers --only vgg16       what its layers reach
  ./do bench --seconds 2 net.onnx checkpoint.pt     models of your own
  ./do bench --peer 'ncnn=./ncnn-adapter --fp32'    another engine (docs/testing.md)
  ./do bench kernels [--only resnet50]              single layers: share of the machine's peak

exit codes: 0 done (a noisy machine is told by the table); 1 tern failed on a model; 2 wrong command line""",
    )
    p.add_argument("model", nargs="*", metavar="MODEL", help=".onnx file or checkpoint (default: all networks)")
    p.add_argument("--models", metavar="DIR", help="the networks' .onnx files are here (default: made in the cache)")
    p.add_argument("--others", action="store_true", help="networks of other kinds instead: segmentation, video, text, sound")
    p.add_argument("--only", nargs="+", metavar="NAME", help="only these networks of the table")
    p.add_argument("--threads", type=thread_list, default=[1], metavar="N,N...", help="default: 1")
    p.add_argument("--batch", type=positive(int), default=1, metavar="N", help="pictures per run (default: 1)")
    p.add_argument("--rounds", type=positive(int), default=5, metavar="N", help="turns of every engine (default: 5)")
    p.add_argument("--seconds", type=positive(float), default=0.5, metavar="S", help="each turn (default: 0.5)")
    p.add_argument("--cpu", choices=["scalar", "avx2", "avx512"], help="hold tern, and OpenCV to avx2, to this tier")
    p.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND",
                   help="another engine: COMMAND gets MODEL THREADS SECONDS and prints milliseconds; may be repeated")
    p.add_argument("--layers", action="store_true", help="layers that take over 2 %% of a run, too: share of the peak")
    p.add_argument("--no-peers", action="store_true", help="neither ONNX Runtime nor OpenCV")
    p.add_argument("--json", action="store_true", help="JSON instead of Markdown on stdout")
    p.add_argument("--markdown", metavar="FILE", help="write the Markdown to FILE")
    p.add_argument("--svg", metavar="FILE", help="write a bar chart to FILE")
    p.add_argument("--readme", metavar="FILE",
                   help="replace the table between the marks 'bench:' ('bench-others:' with --others) of FILE")
    p.add_argument("--tern", default=str(ROOT / "build/tern"), metavar="FILE", help="the command (default: build/tern)")
    args = p.parse_args(argv)
    try:
        [peers.parse_adapter(text) for text in args.peer]
    except ValueError as e:
        p.error(str(e))
    if args.model and (args.only or args.models or args.others):
        p.error("MODEL can not be combined with --only, --models or --others")
    return args


def main(argv):
    args = parse_arguments(argv)
    peers.no_core_files()
    try:
        result = bench(args)
        text = report.markdown(result)
        if args.markdown:
            report.write(args.markdown, text)
        if args.svg:
            report.write(args.svg, report.svg(result))
        if args.readme:
            mark = "bench-others" if args.others else "bench"
            report.replace_section(args.readme, mark, report.markdown(result, short=True))
    except (EngineError, report.ReportError, OSError) as e:
        say(f"./do bench: {e}")
        return 1
    if args.json:
        print(json.dumps(result, indent=2))
    elif not args.markdown:
        print(text, end="")
    if not result["noise"]["quiet"]:
        say(f"./do bench: the machine was too noisy to trust these times: {'; '.join(result['noise']['reasons'])}")
    bad = [r["model"] for r in result["rows"] if "error" in r["engines"]["tern"]]
    if bad or not result["rows"]:
        say(f"./do bench: tern failed on {' '.join(bad)}" if bad else "./do bench: no network could be timed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
