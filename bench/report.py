"""The results of bench/run.py as Markdown and as a bar chart."""
import math
import os
import re
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import machine


class ReportError(Exception):
    """A report can not be made or written; the text says why."""


def write(path, text):
    """All or nothing: to a temporary file beside it, then renamed."""
    path = Path(path)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as f:
        f.write(text)
    os.chmod(f.name, mode)
    os.replace(f.name, path)


def replace_section(path, mark, text):
    """Puts text between the lines <!-- MARK: begin --> and <!-- MARK: end --> of the file."""
    old = Path(path).read_text()
    new, count = re.subn(
        rf"(<!-- {mark}: begin -->\n).*?(<!-- {mark}: end -->\n)", lambda m: m[1] + text + m[2], old, flags=re.S
    )
    if count != 1:
        raise ReportError(f"{path} has no lines <!-- {mark}: begin --> and <!-- {mark}: end -->")
    write(path, new)


def _ms(value):
    """Three significant digits, as all that times are good for."""
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _threads(count):
    return f"{count} thread{'s' if count > 1 else ''}"


def _geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def _ratios(row, peers):
    """(of the first peer, of the fastest peer) to tern, by minima; None where one of them has no time."""
    times = {name: cell.get("min_ms") for name, cell in row["engines"].items()}
    tern = times["tern"]
    others = [times[p] for p in peers if times.get(p)]
    if not tern or not others:
        return None, None
    first = times.get(peers[0])
    return first / tern if first else None, min(others) / tern


def _cell(cell, short):
    if "error" in cell:
        return "fails"
    return _ms(cell["min_ms"]) if short else f"{_ms(cell['min_ms'])} ({_ms(cell['median_ms'])})"


def _line(cells):
    return f"| {' | '.join(cells)} |\n"


def _number(value, form=".2f"):
    return "" if value is None else format(value, form)


def _table(rows, engines, batch, short):
    names = [e["name"] for e in engines]
    peers = names[1:]
    head = ["network", "GFLOP", *(f"{e['name']} {e['version']}".strip() for e in engines)]
    if peers:
        head.append(f"{peers[0]} / tern")
    if len(peers) > 1:
        head.append("fastest other / tern")
    head.append("tern's % of the peak")
    if batch > 1:
        head.append("tern, pictures/s")
    out = _line(head) + "|" + "---|" * len(head) + "\n"
    ratios = [_ratios(row, peers) for row in rows] if peers else []
    for i, row in enumerate(rows):
        tern = row["engines"]["tern"]
        gflop = 2e-9 * tern["macs"] if tern.get("macs") else None
        cells = [row["model"], _number(gflop, ".3g"), *(_cell(row["engines"][n], short) for n in names)]
        if peers:
            cells += [_number(r) for r in ratios[i][: min(len(peers), 2)]]
        cells.append(_number(tern.get("percent_of_peak"), ".0f"))
        if batch > 1:
            cells.append(_number(1e3 * batch / tern["min_ms"] if "min_ms" in tern else None, ".1f"))
        out += _line(cells)
    if peers and len(rows) > 1:
        means = [_geometric_mean([r[k] for r in ratios if r[k]]) for k in range(min(len(peers), 2))]
        cells = ["geometric mean", *([""] * (1 + len(names))), *map(_number, means)]
        out += _line(cells + [""] * (len(head) - len(cells)))
    return out


def _resources(rows, engines):
    """Time to load and prepare, and memory of the process at its largest."""
    names = [e["name"] for e in engines]
    out = _line(["network", *(f"{n}: load ms" for n in names), *(f"{n}: MB" for n in names)])
    out += "|" + "---|" * (1 + 2 * len(names)) + "\n"
    for row in rows:
        cells = [row["engines"][n] for n in names]
        load = [_ms(c["load_ms"]) if "load_ms" in c else "" for c in cells]
        out += _line([row["model"], *load, *(f"{c['rss_mb']:.0f}" if "rss_mb" in c else "" for c in cells)])
    return out


def _layers(row):
    """What `--layers` adds for one network."""
    out = f"\nLayers of {row['model']} that take over 2 % of the time, each at its fastest:\n\n"
    out += _line(["layer", "kernel", "shapes", "ms", "% of the time", "GFLOP/s", "% of the peak"]) + "|---" * 7 + "|\n"
    for n in row["layers"]:
        rates = [f"{n['gflops']:.0f}", f"{n['percent_of_peak']:.0f}"] if n["gflops"] else ["", ""]
        name = f"{n['op_type']} {n['name']}".strip().replace("|", "\\|")
        out += _line([name, n["kernel"], n["shapes"], _ms(n["min_ms"]), f"{n['percent_of_time']:.1f}", *rates])
    return out


def _notes(result):
    out = ""
    tier = result["settings"]["cpu"]
    if tier != result["machine"]["tier"]:
        held = "tern and OpenCV are" if tier == "avx2" else "tern is"
        out += f"- {held} held to {tier}; other engines use {result['machine']['tier']}.\n"
    failures = {}
    for row in result["rows"]:
        for name, cell in row["engines"].items():
            if "error" in cell:
                failures.setdefault((name, row["model"]), cell["error"])
    out += "".join(f"- {name} fails on {model}: {why}\n" for (name, model), why in failures.items())
    return out + "".join(f"- left out: {s['what']}: {s['why']}\n" for s in result["skipped"])


def markdown(result, short=False):
    """Tables, one for each number of threads; short: minima only, no table of resources."""
    s, noise = result["settings"], result["noise"]
    figures = "minimum" if short else "minimum (median)"
    batch = f"batch {s['batch']}" if s["batch"] > 1 else "one sample"
    out = (
        f"{result['date']}, {machine.text(result['machine'])}. Milliseconds of a run of {batch}, {figures} of "
        f"{s['rounds']} rounds of {s['seconds']:g} s in which the engines take turns; {s['cpu']}.\n"
    )
    if noise["quiet"]:
        out += f"The machine was quiet: other programs had {100 * noise['others_share']:.1f} % of the processors.\n"
    else:
        out += f"**Not to be trusted: the machine was noisy** ({'; '.join(noise['reasons'])}).\n"
    for threads in dict.fromkeys(row["threads"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["threads"] == threads]
        out += f"\n{_threads(threads)}:\n\n" + _table(rows, result["engines"], s["batch"], short)
        if not short:
            out += "\n" + _resources(rows, result["engines"])
            out += "".join(_layers(row) for row in rows if "layers" in row)
    notes = _notes(result)
    return out + (f"\n{notes}" if notes else "")


# ---- chart ----------------------------------------------------------------------------------------------------------

LEFT, WIDTH, TOP, BAR, GAP = 150, 520, 58, 11, 9  # pixels: names, longest bar, heading, a bar, between networks
COLOURS = ("#0072b2", "#8c8c8c", "#c9c9c9", "#e69f00", "#56b4e9", "#009e73")

STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #222 }
.title { font-weight: 600; font-size: 14px }
.small { font-size: 10px }
.paper { fill: #fff }
.grid { stroke: #ddd }
.one { stroke: #555 }
@media (prefers-color-scheme: dark) {
  text { fill: #ddd } .paper { fill: #16191d } .grid { stroke: #333 } .one { stroke: #aaa }
}
</style>
"""


def _text(x, y, text, kind="", anchor="start"):
    css = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{css}>{escape(text)}</text>\n'


def _rect(x, y, width, height, fill):
    return f'<rect x="{x:g}" y="{y:g}" width="{width:.1f}" height="{height:g}" fill="{fill}"/>\n'


def _legend(engines):
    out, x = "", LEFT
    for e, colour in zip(engines, COLOURS * len(engines)):
        label = f"{e['name']} {e['version']}".strip()
        out += _rect(x, 32, 10, 10, colour) + _text(x + 15, 41, label)
        x += 40 + 7 * len(label)
    return out


def _axis(top, scale, bottom):
    out = ""
    for half in range(int(top * 2) + 1):
        x, kind = LEFT + half / 2 * scale, "one" if half == 2 else "grid"
        out += f'<line x1="{x:g}" x2="{x:g}" y1="{TOP - 6}" y2="{bottom:g}" class="{kind}"/>\n'
        if half % 2 == 0 or top <= 5:
            out += _text(x, bottom + 14, f"{half / 2:g}", "small", "middle")
    return out


def _bars(row, names, y, scale, reference):
    out = _text(LEFT - 8, y + BAR * len(names) / 2 + 4, row["model"], anchor="end")
    for name, colour in zip(names, COLOURS * len(names)):
        ms = row["engines"][name].get("min_ms")
        if ms:
            width = row["engines"][reference]["min_ms"] / ms * scale
            out += _rect(LEFT, y, width, BAR - 1, colour)
            out += _text(LEFT + width + 4, y + BAR - 2, f"{_ms(ms)} ms", "small")
        y += BAR
    return out


def _caption(result):
    m, s = result["machine"], result["settings"]
    noisy = "" if result["noise"]["quiet"] else "; noisy machine"
    return f"{result['date']}, {m['cpu']} ({m['cpu_family']}), {s['cpu']}, minimum of {s['rounds']} rounds{noisy}"


def svg(result):
    """Bars of the speed of each engine by that of the first peer, for the first number of threads."""
    names = [e["name"] for e in result["engines"]]
    if len(names) < 2:
        raise ReportError("a chart compares tern with another engine, and there is none")
    reference, threads = names[1], result["rows"][0]["threads"] if result["rows"] else 0
    rows = [r for r in result["rows"] if r["threads"] == threads and r["engines"][reference].get("min_ms")]
    if not rows:
        raise ReportError(f"{reference} has no times to compare with")
    fastest = [(r, min(c["min_ms"] for c in r["engines"].values() if "min_ms" in c)) for r in rows]
    speeds = [r["engines"][reference]["min_ms"] / ms for r, ms in fastest]
    top = max(1.0, math.ceil(max(speeds) * 2) / 2)
    scale = WIDTH / top
    step = BAR * len(names) + GAP
    bottom = TOP + step * len(rows)
    width, height = LEFT + WIDTH + 70, bottom + 40
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    title = f"Speed by that of {reference}, {_threads(threads)}: longer is faster"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n<title>{escape(title)}</title>\n{STYLE}'
        + f'<rect class="paper" width="{width}" height="{height}"/>\n'
        + _text(12, 20, title, "title")
        + _legend(result["engines"])
        + _axis(top, scale, bottom)
        + "".join(_bars(row, names, TOP + i * step, scale, reference) for i, row in enumerate(rows))
        + _text(12, height - 8, _caption(result), "small")
        + "</svg>\n"
    )
