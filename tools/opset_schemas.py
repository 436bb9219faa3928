"""Writes src/opt/schema_list.inc, the signatures of all versions of the standard's operators, from the standard's own
list of them:

    python3 tools/opset_schemas.py path/to/onnx/docs/Changelog.md > src/opt/schema_list.inc
    python3 tools/opset_schemas.py path/to/onnx/docs/Changelog-ml.md > src/opt/schema_ml_list.inc
"""
import re
import sys

DTYPES = {"float": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "string": 8, "bool": 9, "float16": 10,
          "double": 11, "uint32": 12, "uint64": 13, "complex64": 14, "complex128": 15, "bfloat16": 16, "float8e4m3fn": 17,
          "float8e4m3fnuz": 18, "float8e5m2": 19, "float8e5m2fnuz": 20, "uint4": 21, "int4": 22, "float4e2m1": 23, "float8e8m0": 24,
          "uint2": 25, "int2": 26}
SEQUENCE, OPTIONAL = 30, 31
ALL_TENSORS = sum(1 << v for v in DTYPES.values())


def mask(types):
    bits = 0
    for t in re.findall(r"[a-z]+\((?:[^()]|\([^()]*\)|\((?:[^()]|\([^()]*\))*\))*\)", types):
        if t.startswith("tensor("):
            bits |= 1 << DTYPES[t[7:-1]]
        elif t.startswith("seq("):
            bits |= 1 << SEQUENCE
        elif t.startswith("optional("):
            bits |= 1 << OPTIONAL
        elif t.startswith("map("):
            pass
        else:
            raise SystemExit("type " + t)
    return bits


def terms(section):
    return re.findall(r"<dt>(.*?)</dt>", section, re.S)


def sections(text):
    parts = re.split(r"^#### (.*)$", text, flags=re.M)
    return {parts[i].split(" (")[0].strip(): (parts[i], parts[i + 1]) for i in range(1, len(parts), 2)}


def bounds(title):
    m = re.search(r"\((\d+) - (\d+|&#8734;|∞)\)", title)
    return (int(m.group(1)), -1 if not m.group(2).isdigit() else int(m.group(2))) if m else None


def attribute(term):
    m = re.match(r"<tt>(\w+)</tt> : ([a-z_ ]+?)(?: \((.*)\))?$", term.strip(), re.S)
    if not m:
        raise SystemExit("attribute " + term)
    name, kind, more = m.group(1), m.group(2), m.group(3) or ""
    text = name
    if "default is" in more:
        value = more.split("default is", 1)[1].strip()
        if kind in ("int", "float", "string") and value and "[" not in value and "," not in value:
            text += "=" + value
    elif "required" in more:
        text += "!"
    return text


def main():
    text = open(sys.argv[1], encoding="utf-8").read().split("# ai.onnx.preview")[0]
    entries = re.split(r'^### <a name="', text, flags=re.M)[1:]
    rows = []
    for entry in entries:
        m = re.match(r'(?:ai\.onnx\.ml\.)?(\w+)-(\d+)"></a>\*\*[\w.]+-\d+\*\*(.*)', entry)
        name, since, rest = m.group(1), int(m.group(2)), m.group(3)
        part = sections(entry)
        if "deprecated" in rest.lower():
            rows.append((name, since, f'GONE({name}, {since})'))
            continue
        constraints = {}
        for term in terms(part.get("Type Constraints", ("", ""))[1]):
            t = re.match(r"<tt>(\w+)</tt> : (.*)", term.strip(), re.S)
            constraints[t.group(1)] = mask(t.group(2))

        def values(title):
            head, body = part.get(title, ("", ""))
            found, least = [], 0
            for term in terms(body):
                t = re.match(r"<tt>(.*?)</tt>\s*(\(.*\))? : (.*)", term.strip(), re.S)
                kinds, what = t.group(2) or "", t.group(3).strip()
                found.append(constraints[what] if what in constraints else mask(what))
                if "optional" not in kinds:
                    least = len(found)
                if "variadic" in kinds:
                    return found, least, True
            return found, least, False

        ins, least, variadic = values("Inputs")
        outs, _, out_variadic = values("Outputs")
        limit = bounds(part.get("Inputs", ("", ""))[0])
        if limit:
            least = limit[0]
        attrs = ",".join(attribute(t) for t in terms(part.get("Attributes", ("", ""))[1]))
        show = lambda masks: ", ".join("0x%xu" % b for b in masks) or "0"
        rows.append((name, since, 'SCHEMA(%s, %d, %d, %d, %d, "%s", M(%s), M(%s))' % (
            name, since, least, -1 if variadic else len(ins), -1 if out_variadic else len(outs), attrs, show(ins), show(outs))))
        if len(ins) > 12 or len(outs) > 8:
            raise SystemExit("more values than there is room for: " + name)
    rows.sort(key=lambda r: (r[0], r[1]))
    print("/* Made by tools/opset_schemas.py; do not edit. SCHEMA(operator, since, fewest inputs, most inputs, most outputs (-1: any number),")
    print(" * attributes (name, \"=default\" or \"!\" where it is required), types of inputs, types of outputs: bits of tern_dtype, %d sequence," % SEQUENCE)
    print(" * %d optional). GONE(operator, since): deprecated. Sorted by name and version. */" % OPTIONAL)
    for row in rows:
        print(row[2])


main()
