"""Writes tests/data/cases: test cases in ONNX's form, as tests/cli/test_models.sh uses them. Needs Debian's python3-onnx."""
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases")
F = TensorProto.FLOAT


def write(name, graph, sets, opset=13):
    folder = os.path.join(HERE, name)
    os.makedirs(folder, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, producer_name="tests")
    onnx.save(model, os.path.join(folder, "model.onnx"))
    for k, (inputs, outputs) in enumerate(sets):
        data = os.path.join(folder, f"test_data_set_{k}")
        os.makedirs(data, exist_ok=True)
        for what, protos in (("input", inputs), ("output", outputs)):
            for i, proto in enumerate(protos):
                with open(os.path.join(data, f"{what}_{i}.pb"), "wb") as f:
                    f.write(proto.SerializeToString())


def tensor(values, dtype=np.float32):
    return numpy_helper.from_array(np.array(values, dtype))


def add_graph(name):
    return helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"], name="sum")], name,
                             [helper.make_tensor_value_info("a", F, ["n", 3]), helper.make_tensor_value_info("b", F, [3])],
                             [helper.make_tensor_value_info("c", F, ["n", 3])])


a, b = [[1, 2, 3], [4, 5, 6]], [10, 20, 30]
right = [[11, 22, 33], [14, 25, 36]]
write("good/add", add_graph("add"), [([tensor(a), tensor(b)], [tensor(right)]), ([tensor(a[:1]), tensor(b)], [tensor(right[:1])])])
write("bad/wrong_value", add_graph("add"), [([tensor(a), tensor(b)], [tensor([[11, 22, 33], [14, 25.5, 36]])])])
write("bad/wrong_shape", add_graph("add"), [([tensor(a), tensor(b)], [tensor(right[:1])])])
write("bad/wrong_type", add_graph("add"), [([tensor(a), tensor(b)], [tensor(right, np.float64)])])
write("bad/too_many_files", add_graph("add"), [([tensor(a), tensor(b), tensor(b)], [tensor(right)])])
write("bad/wrong_top1", add_graph("add"), [([tensor(a), tensor(b)], [tensor([[11, 22, 33], [14, 36, 25]])])])
nonzero = helper.make_graph([helper.make_node("NonZero", ["a"], ["c"])], "nonzero", [helper.make_tensor_value_info("a", F, [4, 5])],
                            [helper.make_tensor_value_info("c", TensorProto.INT64, [2, "count"])])
write("nonzero", nonzero, [])
# x doubled five times, by a loop whose body reads a value from outside.
body = helper.make_graph([helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Mul", ["s", "two"], ["s_out"], name="double")],
                         "body", [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                                  helper.make_tensor_value_info("s", F, [2])],
                         [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), helper.make_tensor_value_info("s_out", F, [2])])
loop = helper.make_graph([helper.make_node("Loop", ["count", "", "x"], ["y"], name="five", body=body)], "loop",
                         [helper.make_tensor_value_info("x", F, [2])], [helper.make_tensor_value_info("y", F, [2])],
                         [helper.make_tensor("count", TensorProto.INT64, [], [5]), helper.make_tensor("two", F, [], [2])])
write("loop", loop, [])
write("no_data", add_graph("add"), [])
unknown = helper.make_graph([helper.make_node("Frobnicate", ["a"], ["c"], name="odd", domain="my.ops")], "unknown",
                            [helper.make_tensor_value_info("a", F, [1])], [helper.make_tensor_value_info("c", F, [1])])
folder = os.path.join(HERE, "unknown_op")
os.makedirs(folder, exist_ok=True)
onnx.save(helper.make_model(unknown, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("my.ops", 2)], ir_version=8),
          os.path.join(folder, "model.onnx"))

sequence = helper.make_tensor_sequence_value_info
items = [np.array([1, 2], np.float32), np.array([[3], [4]], np.float32)]
write("good/sequence", helper.make_graph([helper.make_node("Identity", ["s"], ["t"])], "sequence", [sequence("s", F, None)],
                                         [sequence("t", F, None)]),
      [([numpy_helper.from_list(items)], [numpy_helper.from_list(items)])], 16)
optional = helper.make_value_info("o", helper.make_optional_type_proto(helper.make_tensor_type_proto(F, [2])))
optional_out = helper.make_value_info("p", helper.make_optional_type_proto(helper.make_tensor_type_proto(F, [2])))
value = numpy_helper.from_optional(np.array([7, 8], np.float32))
write("good/optional", helper.make_graph([helper.make_node("Identity", ["o"], ["p"])], "optional", [optional], [optional_out]),
      [([value], [value])], 16)
text = helper.make_graph([helper.make_node("Identity", ["s"], ["t"])], "text",
                         [helper.make_tensor_value_info("s", TensorProto.STRING, [2])],
                         [helper.make_tensor_value_info("t", TensorProto.STRING, [2])])
words = helper.make_tensor("s", TensorProto.STRING, [2], [b"one", "zwei \u00e4".encode()])
write("good/strings", text, [([words], [words])])
# Nodes that leave out an input that the operator must have, or an output before one that is used.
into = [helper.make_tensor_value_info("a", F, [2, 3])]
hole = helper.make_graph([helper.make_node("OneHot", ["", "a"], ["c"])], "hole", into, [helper.make_tensor_value_info("c", F, None)])
write("no_input", hole, [], opset=10)
hole = helper.make_graph([helper.make_node("Min", ["a", "", "a"], ["b"])], "hole", into, [helper.make_tensor_value_info("b", F, [2, 3])])
write("no_middle_input", hole, [])
hole = helper.make_graph([helper.make_node("LayerNormalization", ["a", "scale"], ["", "mean"])], "hole", into,
                         [helper.make_tensor_value_info("mean", F, [2, 1])], [helper.make_tensor("scale", F, [3], [1, 1, 1])])
write("no_output", hole, [], opset=17)
# A divisor that float16 can not hold.
tiny = helper.make_graph([helper.make_node("Div", ["a", "little"], ["b"])], "tiny", into, [helper.make_tensor_value_info("b", F, [2, 3])],
                         [helper.make_tensor("little", F, [], [1e-8])])
write("tiny_divisor", tiny, [])
