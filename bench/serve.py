#!/usr/bin/env python3
"""What serving costs: ./do bench serve --help."""
import argparse
import array
import datetime
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import machine
import peers
import run
from peers import EngineError

ROOT = Path(__file__).resolve().parent.parent
DESCRIPTION = """
Three tables, for people or with --json for programs, each of medians of rounds in which what is compared takes turns:

  - requests a second with and without batching: two copies of the model in one server, the first with max_batch 1;
  - milliseconds of one client's request, beside `tern bench` of the same network with the same threads, and what the
    loopback alone needs for as many bytes there and back;
  - MB a second of one core that JSON arrays of floats are read and written with.

Requests are of the Open Inference Protocol with binary tensors; of several outputs the smallest is asked for. Client and
server share the machine. A model whose batch is fixed is served, but never batched.
"""
# Besides the embedded classifier; bench/export_models.py makes them.
NETWORKS = ("mlp", "mobilenet_v2", "yolov5n")


def say(text):
    print(text, file=sys.stderr, flush=True)


def default_models(only):
    """[(name, path)]: the embedded classifier, and others with random weights."""
    known = ["fashion", *NETWORKS]
    for name in only or []:
        if name not in known:
            raise EngineError(f"no network is called {name}; there are {' '.join(known)}")
    wanted = [n for n in known if not only or n in only]
    folder = peers.cache() / "models"
    folder.mkdir(parents=True, exist_ok=True)
    why = run.export_missing(folder, wanted, 0)
    found = []
    for name in wanted:
        path = ROOT / "models/fashion.onnx" if name == "fashion" else run.file_of(folder, name, 0)
        if path.exists():
            found.append((name, path))
        else:
            say(f"{name} is left out: {why}")
    return found


# ---- the server -----------------------------------------------------------------------------------------------------


class Server:
    """`tern serve` of NAME-alone (max_batch 1) and NAME-batch, on any free port, without an access log."""

    def __init__(self, args, name, path, folder):
        for kind, batch in (("alone", 1), ("batch", args.max_batch)):
            version = folder / "models" / f"{name}-{kind}" / "1"
            version.mkdir(parents=True)
            shutil.copy(path, version / f"model{path.suffix}")
            config = {"max_batch": batch, "threads": args.threads}
            if batch > 1 and not args.free_batch:
                config.pop("max_batch")
            (version.parent / "config.json").write_text(json.dumps(config))
        command = [args.tern, "serve", "--port", "0", "--poll", "0", "--access-log", "none", str(folder / "models")]
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        self.port = self.wait()

    def wait(self):
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            for line in self.log.read_text().splitlines():
                if "listening on" in line:
                    return int(line.rpartition(":")[2])
            time.sleep(0.05)
        self.stop()
        raise EngineError(self.log.read_text().strip().splitlines()[-1] if self.log.read_text() else "no answer")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


# ---- the request ----------------------------------------------------------------------------------------------------


def elements(shape):
    n = 1
    for d in shape:
        n *= d if isinstance(d, int) and d > 0 else 1
    return n


def metadata(port, model):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/{model}", timeout=30) as answer:
        return json.load(answer)


def input_shape(args, info):
    """Of one row; free dims are those of --size."""
    shape = info["inputs"][0]["shape"]
    return [1 if i == 0 and d < 0 else args.size if d < 0 else d for i, d in enumerate(shape)]


def request(args, info, model, as_json):
    """The bytes of an inference request."""
    tensor = info["inputs"][0]
    shape = input_shape(args, info)
    datatype = tensor["datatype"]
    if datatype not in ("FP32", "UINT8") or len(info["inputs"]) > 1:
        raise EngineError("only models with one input, FP32 or UINT8, are measured")
    generator = random.Random(1)
    code = "f" if datatype == "FP32" else "B"
    data = array.array(code, (generator.random() if code == "f" else generator.randrange(256)
                              for _ in range(elements(shape))))
    output = min(info["outputs"], key=lambda o: elements([d if d > 0 else args.size for d in o["shape"]]))
    head = {"name": tensor["name"], "shape": shape, "datatype": datatype}
    wanted = {"name": output["name"], "parameters": {"binary_data": not as_json}}
    if as_json:
        body = json.dumps({"inputs": [{**head, "data": data.tolist()}], "outputs": [wanted]}).encode()
        extra = ""
    else:
        raw = data.tobytes()
        header = {"inputs": [{**head, "parameters": {"binary_data_size": len(raw)}}], "outputs": [wanted]}
        text = json.dumps(header).encode()
        body = text + raw
        extra = f"Inference-Header-Content-Length: {len(text)}\r\n"
    line = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: 127.0.0.1\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return line.encode() + body


# ---- measuring ------------------------------------------------------------------------------------------------------


class Meter:
    def __init__(self, args, folder, port):
        self.args, self.folder, self.port = args, folder, port

    def wait_until_idle(self):
        """Until what the last clients left behind is worked off: a measurement begins with an empty queue."""
        for _ in range(1200):
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
                # The question itself is under way.
                if "\ntern_requests_under_way 1\n" in answer.read().decode():
                    return
            time.sleep(0.05)
        raise EngineError("the server does not come to rest")

    def load(self, model, connections, seconds, data):
        self.wait_until_idle()
        path = self.folder / f"{model}.request"
        path.write_bytes(data)
        out, _ = peers.run([self.args.load, str(self.port), str(connections), str(seconds), str(path)], seconds + 60)
        got = json.loads(out)
        if got["errors"] or not got["answers"]:
            raise EngineError(f"{got['errors']} of {got['answers']} answers were errors")
        return got

    def carry(self, model, answer_bytes, seconds):
        """Median milliseconds that the loopback needs for the request's bytes and the answer's, without a server."""
        path = self.folder / f"{model}.request"
        out, _ = peers.run([self.args.load, "plain", str(answer_bytes), str(seconds), str(path)], seconds + 60)
        return json.loads(out)["median_ms"]

    def network(self, path, info):
        """Median milliseconds of the network alone."""
        name = info["inputs"][0]["name"]
        shape = "x".join(map(str, input_shape(self.args, info)))
        command = [self.args.tern, "bench", str(path), "--threads", str(self.args.threads), "--json"]
        command += ["--seconds", str(self.args.seconds), "--shape", f"{name}={shape}"]
        return json.loads(peers.run(command, 120)[0])["median_ms"]


def free_batch(args, path):
    inputs = json.loads(peers.run([args.tern, "inspect", "--json", str(path)], 120)[0])["inputs"]
    return bool(inputs[0]["shape"]) and not isinstance(inputs[0]["shape"][0], int)


def network_file(args, path, folder):
    """What `tern bench` is given: the server makes checkpoints into ONNX with raw heads and a free batch."""
    if path.suffix == ".onnx":
        return path
    made = folder / f"{path.stem}.onnx"
    peers.run([args.tern, "convert", str(path), "--head", "raw", "--dynamic", "-o", str(made)], 300)
    return made


def measure(args, name, path):
    """One model: {"name", "throughput": {...}, "latency": {...}}."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = network_file(args, path, folder)
        args.free_batch = free_batch(args, file)
        server = Server(args, name, path, folder)
        say(f"{time.monotonic() - args.begin:4.0f} s  {name} is loaded")
        try:
            meter = Meter(args, folder, server.port)
            info = metadata(server.port, f"{name}-batch")
            data = {k: request(args, info, f"{name}-{k}", args.json_body) for k in ("alone", "batch")}
            rounds = []
            for i in range(args.rounds):
                rounds.append(one_round(meter, name, file, info, data))
                say_round(args, name, i, rounds[-1])
            batch = info["parameters"]["max_batch"]
        finally:
            server.stop()
    return {"name": name, "max_batch": batch, "request_bytes": len(data["alone"]), **summary(rounds)}


def one_round(meter, name, file, info, data):
    args = meter.args
    one = meter.load(f"{name}-alone", 1, args.seconds, data["alone"])
    network = meter.network(file, info)
    carry = meter.carry(f"{name}-alone", one["answer_bytes"], min(args.seconds, 0.5))
    many = {k: meter.load(f"{name}-{k}", args.clients, args.seconds, data[k]) for k in ("alone", "batch")}
    return {"one": one["median_ms"], "network": network, "carry": carry, **{k: many[k]["per_second"] for k in many},
            "alone_p99": many["alone"]["p99_ms"], "batch_p99": many["batch"]["p99_ms"]}


def say_round(args, name, i, got):
    say(f"{time.monotonic() - args.begin:4.0f} s  {name}, round {i + 1} of {args.rounds}: {got['alone']:.0f} requests/s "
        f"without batches, {got['batch']:.0f} with; one client {got['one']:.3f} ms, the network {got['network']:.3f}")


def summary(rounds):
    def middle(values):
        return statistics.median(values)

    per_second = {k: round(middle(r[k] for r in rounds), 1) for k in ("alone", "batch")}
    ratios = [r["batch"] / r["alone"] for r in rounds]
    excess = [r["one"] - r["network"] for r in rounds]
    limits = [0.05 * r["network"] + 0.3 for r in rounds]
    return {
        "throughput": {**per_second, "ratio": round(middle(ratios), 2), "ratios": [round(r, 2) for r in ratios],
                       "alone_p99_ms": middle(r["alone_p99"] for r in rounds),
                       "batch_p99_ms": middle(r["batch_p99"] for r in rounds)},
        "latency": {"request_ms": middle(r["one"] for r in rounds), "network_ms": middle(r["network"] for r in rounds),
                    "loopback_ms": middle(r["carry"] for r in rounds),
                    "excess_ms": round(middle(excess), 3), "limit_ms": round(middle(limits), 3)},
    }


# ---- what is printed ------------------------------------------------------------------------------------------------


def table(result):
    yield f"{result['date']}, {machine.text(result['machine'])}."
    s = result["settings"]
    yield (f"Medians of {s['rounds']} rounds of {s['seconds']} s; runs have {s['threads']} thread"
           f"{'s' if s['threads'] > 1 else ''}; requests are {'JSON' if s['json_body'] else 'binary'}.")
    yield ""
    yield f"| {s['clients']} clients | max_batch | requests/s, max_batch 1 | requests/s, batched | ratio | 99 % within, ms |"
    yield "|---|---|---|---|---|---|"
    for m in result["models"]:
        t = m["throughput"]
        yield (f"| {m['name']} | {m['max_batch']} | {t['alone']:.0f} | {t['batch']:.0f} | {t['ratio']:.2f} | "
               f"{t['alone_p99_ms']:.1f}, {t['batch_p99_ms']:.1f} |")
    yield ""
    yield "| one client | request, ms | `tern bench`, ms | difference | 5 % + 0.3 ms | loopback alone, ms |"
    yield "|---|---|---|---|---|---|"
    for m in result["models"]:
        t = m["latency"]
        yield (f"| {m['name']} | {t['request_ms']:.3f} | {t['network_ms']:.3f} | {t['excess_ms']:.3f} | "
               f"{t['limit_ms']:.3f} | {t['loopback_ms']:.3f} |")
    yield ""
    yield "| a million floats | read, MB/s | written, MB/s |"
    yield "|---|---|---|"
    for name, r in result["json"].items():
        yield f"| {name} | {r['parse_mb_s']} | {r['print_mb_s']} |"


def positive(kind):
    def read(text):
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value
    read.__name__ = kind.__name__
    return read


def parse():
    parser = argparse.ArgumentParser(prog="./do bench serve", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", help="files instead of the usual ones: NAME.onnx, NAME.pt")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"of fashion, {', '.join(NETWORKS)} only these")
    parser.add_argument("--clients", type=positive(int), default=64, help="connections at a time (64)")
    parser.add_argument("--threads", type=positive(int), default=len(os.sched_getaffinity(0)), help="of a run (all)")
    parser.add_argument("--max-batch", type=positive(int), default=32, help="of the batched copy (32)")
    parser.add_argument("--rounds", type=positive(int), default=5)
    parser.add_argument("--seconds", type=positive(float), default=1.0, help="of each measurement (1)")
    parser.add_argument("--size", type=positive(int), default=640, help="of free dims besides the batch (640)")
    parser.add_argument("--json-body", action="store_true", help="tensors as JSON instead of binary")
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    parser.add_argument("--build", default=str(ROOT / "build"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = parse()
    args.tern, args.load = f"{args.build}/tern", f"{args.build}/bench_load"
    args.begin = time.monotonic()
    result = {
        "date": datetime.date.today().isoformat(),
        "machine": machine.describe(args.tern),
        "settings": {k: getattr(args, k) for k in ("clients", "threads", "rounds", "seconds", "json_body")},
        "models": [],
    }
    try:
        for name, path in [(Path(m).stem, Path(m)) for m in args.model] or default_models(args.only):
            result["models"].append(measure(args, name, path))
        result["json"] = json.loads(peers.run([f"{args.build}/bench_json", str(args.rounds)], 300)[0])
    except (EngineError, OSError) as e:
        say(f"./do bench serve: {e}")
        return 1
    print(json.dumps(result, indent=1) if args.json else "\n".join(table(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
