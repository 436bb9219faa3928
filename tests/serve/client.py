"""Triton's own Python client against a server of `fashion` and, with a folder of models, of one identity for each type.

    client.py HOST:PORT [MODELS]        the checks; a line of TAP for each
    client.py --write MODELS            writes the identities (python3-onnx)
"""
import os
import sys

import numpy as np

# The protocol's name, numpy's, and values of its edges.
TYPES = {
    "BOOL": (bool, [True, False]),
    "UINT8": (np.uint8, [0, 255]),
    "UINT16": (np.uint16, [0, 65535]),
    "UINT32": (np.uint32, [0, 2**32 - 1]),
    "UINT64": (np.uint64, [0, 2**64 - 1]),
    "INT8": (np.int8, [-128, 127]),
    "INT16": (np.int16, [-32768, 32767]),
    "INT32": (np.int32, [-(2**31), 2**31 - 1]),
    "INT64": (np.int64, [-(2**63), 2**63 - 1]),
    "FP16": (np.float16, [-2.5, 65504]),
    "FP32": (np.float32, [1e-45, 3.4028235e38]),
    "FP64": (np.float64, [5e-324, 0.1]),
    "BYTES": (np.object_, [b"", "Grüße".encode()]),
}


def write(folder):
    import onnx
    from onnx import TensorProto, helper

    for name in TYPES:
        words = {"FP16": "FLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE", "BYTES": "STRING"}
        dtype = getattr(TensorProto, words.get(name, name))
        value = [helper.make_tensor_value_info(k, dtype, ["n"]) for k in ("x", "y")]
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], name, value[:1], value[1:])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        place = os.path.join(folder, name.lower(), "1")
        os.makedirs(place)
        onnx.save(model, os.path.join(place, "model.onnx"))


class Checks:
    def __init__(self):
        self.count = self.failed = 0

    def __call__(self, name, good):
        self.count += 1
        self.failed += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {name}", flush=True)


def check_server(c, check):
    check("live and ready", c.is_server_live() and c.is_server_ready() and c.is_model_ready("fashion", "1"))
    check("server metadata", "binary_tensor_data" in c.get_server_metadata()["extensions"])
    about = c.get_model_metadata("fashion", "1")
    check("model metadata", about["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 28, 28]}])
    check("configuration", c.get_model_config("fashion")["input"][0]["data_type"] == "TYPE_FP32")
    index = {m["name"]: m["state"] for m in c.get_model_repository_index()}
    check("index", index["fashion"] == "READY")


def check_inference(http, c, check):
    x = np.random.default_rng(1).random((2, 1, 28, 28), np.float32)
    answers = []
    for binary in (True, False):
        for binary_output in (True, False):
            image = http.InferInput("image", x.shape, "FP32")
            image.set_data_from_numpy(x, binary_data=binary)
            wanted = http.InferRequestedOutput("prob", binary_data=binary_output)
            r = c.infer("fashion", [image], outputs=[wanted], request_id="seven")
            check(f"binary {binary}, {binary_output}: the id", r.get_response()["id"] == "seven")
            answers.append(r.as_numpy("prob"))
    check("all forms give the same bits", all(np.array_equal(a, answers[0]) for a in answers))
    check("probabilities", np.allclose(answers[0].sum(1), 1))
    best = c.infer("fashion", [image], outputs=[http.InferRequestedOutput("prob", class_count=2)]).as_numpy("prob")
    index = [int(row[0].decode().split(":")[1]) for row in best]
    check("classification", best.shape == (2, 2) and index == list(answers[0].argmax(1)))
    for algorithm in ("gzip", "deflate"):
        r = c.infer("fashion", [image], request_compression_algorithm=algorithm)
        check(f"a body of {algorithm}", np.array_equal(r.as_numpy("prob"), answers[0]))
    under_way = [c.async_infer("fashion", [image]) for _ in range(32)]
    results = [u.get_result().as_numpy("prob") for u in under_way]
    check("32 at once", all(np.array_equal(a, answers[0]) for a in results))
    check("statistics", c.get_inference_statistics("fashion")["model_stats"][0]["inference_count"] >= 64)


def check_types(http, c, check):
    for name, (dtype, values) in TYPES.items():
        x = np.array(values, dtype)
        for binary in (True, False) if name != "FP16" else (True,):
            given = http.InferInput("x", x.shape, name)
            given.set_data_from_numpy(x, binary_data=binary)
            wanted = http.InferRequestedOutput("y", binary_data=binary)
            y = c.infer(name.lower(), [given], outputs=[wanted]).as_numpy("y")
            if name == "BYTES":
                y = [v if isinstance(v, bytes) else v.encode() for v in y]
            check(f"{name}, {'binary' if binary else 'JSON'}", list(y) == list(x))


def check_errors(http, c, check, error):
    def status_of(model, shape, datatype="FP32"):
        given = http.InferInput("image", shape, datatype)
        given.set_data_from_numpy(np.zeros(shape, np.float32 if datatype == "FP32" else np.int64))
        try:
            c.infer(model, [given])
        except error as e:
            return e.status()
        return None

    check("an unknown model", status_of("none", [1, 1, 28, 28]) == "404")
    check("a wrong shape", status_of("fashion", [1, 1, 28, 27]) == "400")
    check("a wrong type", status_of("fashion", [1, 1, 28, 28], "INT64") == "400")
    c.unload_model("fashion")
    check("unloaded", not c.is_model_ready("fashion"))
    c.load_model("fashion", config='{"max_batch_size": 4}')
    check("loaded with a configuration", c.get_model_config("fashion")["max_batch_size"] == 4)


def main(address, models=None):
    import tritonclient.http as http
    from tritonclient.utils import InferenceServerException

    check = Checks()
    with http.InferenceServerClient(address, concurrency=8) as c:
        check_server(c, check)
        check_inference(http, c, check)
        if models:
            check_types(http, c, check)
        check_errors(http, c, check, InferenceServerException)
    print(f"1..{check.count}")
    sys.exit(check.failed > 0)


if sys.argv[1] == "--write":
    write(sys.argv[2])
else:
    main(*sys.argv[1:3])
