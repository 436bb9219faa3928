/* Field numbers of the messages in onnx.proto and onnx-data.proto. */
#ifndef TN_ONNX_FIELDS_H
#define TN_ONNX_FIELDS_H

enum {
    MODEL_IR_VERSION = 1,
    MODEL_PRODUCER_NAME = 2,
    MODEL_PRODUCER_VERSION = 3,
    MODEL_DOMAIN = 4,
    MODEL_VERSION = 5,
    MODEL_DOC = 6,
    MODEL_GRAPH = 7,
    MODEL_OPSET_IMPORT = 8,
    MODEL_METADATA = 14,
    MODEL_FUNCTIONS = 25,
};
enum { ENTRY_KEY = 1, ENTRY_VALUE = 2 };      /* StringStringEntryProto */
enum { OPSET_DOMAIN = 1, OPSET_VERSION = 2 }; /* OperatorSetIdProto */
enum {
    GRAPH_NODE = 1,
    GRAPH_NAME = 2,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    GRAPH_VALUE_INFO = 13,
    GRAPH_SPARSE_INITIALIZER = 15,
};
enum {
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_OP_TYPE = 4,
    NODE_ATTRIBUTE = 5,
    NODE_DOMAIN = 7,
    NODE_OVERLOAD = 8,
};
enum {
    ATTR_NAME = 1,
    ATTR_F = 2,
    ATTR_I = 3,
    ATTR_S = 4,
    ATTR_T = 5,
    ATTR_G = 6,
    ATTR_FLOATS = 7,
    ATTR_INTS = 8,
    ATTR_STRINGS = 9,
    ATTR_TENSORS = 10,
    ATTR_GRAPHS = 11,
    ATTR_TYPE_PROTO = 14,
    ATTR_TYPE_PROTOS = 15,
    ATTR_TYPE = 20,
    ATTR_REF_NAME = 21,
    ATTR_SPARSE_TENSOR = 22,
    ATTR_SPARSE_TENSORS = 23,
};
enum {
    FUNCTION_NAME = 1,
    FUNCTION_INPUT = 4,
    FUNCTION_OUTPUT = 5,
    FUNCTION_NODE = 7,
    FUNCTION_OPSET_IMPORT = 9,
    FUNCTION_DOMAIN = 10,
    FUNCTION_ATTRIBUTE_PROTO = 11,
    FUNCTION_OVERLOAD = 13,
};
enum { INFO_NAME = 1, INFO_TYPE = 2 }; /* ValueInfoProto */
enum {
    TYPE_TENSOR = 1,
    TYPE_SEQUENCE = 4,
    TYPE_MAP = 5,
    TYPE_OPAQUE = 7,
    TYPE_SPARSE_TENSOR = 8,
    TYPE_OPTIONAL = 9,
};
enum { TYPE_ELEM = 1, TYPE_SHAPE = 2 }; /* TypeProto.Tensor; Sequence and Optional have TYPE_ELEM alone */
enum { TYPE_MAP_KEY = 1, TYPE_MAP_VALUE = 2 };
enum { SHAPE_DIM = 1 };
enum { DIM_VALUE = 1, DIM_PARAM = 2 };
enum {
    TENSOR_DIMS = 1,
    TENSOR_DATA_TYPE = 2,
    TENSOR_SEGMENT = 3,
    TENSOR_FLOAT_DATA = 4,
    TENSOR_INT32_DATA = 5,
    TENSOR_STRING_DATA = 6,
    TENSOR_INT64_DATA = 7,
    TENSOR_NAME = 8,
    TENSOR_RAW_DATA = 9,
    TENSOR_DOUBLE_DATA = 10,
    TENSOR_UINT64_DATA = 11,
    TENSOR_EXTERNAL_DATA = 13,
    TENSOR_DATA_LOCATION = 14,
};
enum { SPARSE_VALUES = 1, SPARSE_INDICES = 2, SPARSE_DIMS = 3 };
enum { LOCATION_EXTERNAL = 1 };

/* onnx-data.proto. SequenceProto and OptionalProto number their items alike. */
enum {
    VALUE_NAME = 1,
    VALUE_ELEM_TYPE = 2,
    VALUE_TENSOR = 3,
    VALUE_SPARSE_TENSOR = 4,
    VALUE_SEQUENCE = 5,
    VALUE_MAP = 6,
    VALUE_OPTIONAL = 7,
};
enum { MAP_NAME = 1, MAP_KEY_TYPE = 2, MAP_KEYS = 3, MAP_STRING_KEYS = 4, MAP_VALUES = 5 };
/* SequenceProto.DataType and OptionalProto.DataType */
enum { ELEM_TENSOR = 1, ELEM_SPARSE_TENSOR = 2, ELEM_SEQUENCE = 3, ELEM_MAP = 4, ELEM_OPTIONAL = 5 };

#endif
