/* Inference requests of the protocol: JSON and binary, every datatype, and everything that is wrong. */
#include "serve_test.h"

static st_server server;

static int set_up(void **unused) {
    (void)unused;
    st_begin(&server);
    st_add_rows(&server, "rows", 1, 1);
    st_add_mixed(&server, "mixed");
    st_add_types(&server, "types");
    st_add_same(&server, "doubles", TERN_DOUBLE);
    st_add_same(&server, "longs", TERN_INT64);
    const char config[] = "{\"labels\": [\"ant\", \"bee\", \"cat\"], \"max_batch\": 8}";
    st_write(&server, "rows/config.json", config, strlen(config));
    const char batched[] = "{\"max_batch\": 8}";
    st_write(&server, "doubles/config.json", batched, strlen(batched));
    st_write(&server, "longs/config.json", batched, strlen(batched));
    st_start(&server);
    return 0;
}

static int tear_down(void **unused) {
    (void)unused;
    st_stop(&server);
    return 0;
}

#define ROWS "/v2/models/rows/infer"
#define X    "{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}"

static void answers(void **unused) {
    (void)unused;
    st_expect(&server, 200,
              "{\"model_name\":\"rows\",\"model_version\":\"1\",\"outputs\":[{\"name\":\"y\",\"datatype\":\"FP32\","
              "\"shape\":[1,3],\"data\":[0.",
              "POST", ROWS, "{\"inputs\":[" X "]}");
    st_expect(&server, 200, "\"id\":\"a\\\"b\"", "POST", ROWS, "{\"id\":\"a\\\"b\",\"inputs\":[" X "]}");
    st_expect(&server, 200, "\"model_version\":\"1\"", "POST", "/v2/models/rows/versions/1/infer",
              "{\"inputs\":[" X "]}");
    /* Members in any order, unknown ones, nested data, blanks, escapes in keys and names. */
    st_expect(&server, 200, "\"shape\":[2,3]", "POST", ROWS,
              " { \"unknown\" : [ { } , null ] , \"inputs\" : [ { \"data\" : [ [ 1 , 2 , 3 , 4 ] , [ 1e0 , -2.5E-1 , 3 "
              ", 4 ] ] , "
              "\"shape\" : [ 2 , 4 ] , \"n\\u0061me\" : \"\\u0078\" , \"datatype\" : \"FP32\" } ] } \n");
    st_expect(&server, 200, "\"shape\":[0,3],\"data\":[]", "POST", ROWS,
              "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[0,4],\"data\":[]}]}");
    st_expect(&server, 200, "\"outputs\":[{\"name\":\"y\"", "POST", ROWS,
              "{\"inputs\":[" X "],\"outputs\":[{\"name\":\"y\"}]}");
}

static void classification(void **unused) {
    (void)unused;
    st_answer a;
    st_ask(&server, &a, "POST", ROWS,
           "{\"inputs\":[" X "],\"outputs\":[{\"name\":\"y\",\"parameters\":{\"classification\":2}}]}");
    assert_int_equal(a.x.status, 200);
    assert_non_null(strstr(a.x.out.data, "\"datatype\":\"BYTES\",\"shape\":[1,2],\"data\":[\"0."));
    /* The best first, with its label. */
    float best;
    int index;
    char label[8];
    const char *at = strstr(a.x.out.data, "\"data\":[\"") + 9;
    char *end;
    best = strtof(at, &end);
    index = (int)strtol(end + 1, &end, 10);
    memcpy(label, end + 1, 3);
    label[3] = '\0';
    assert_true(best > 0.3f);
    assert_string_equal(label, index == 0 ? "ant" : index == 1 ? "bee" : "cat");
    st_release(&a);
}

/* Any number can be a score, and equals keep their order. */
static void classification_of_types(void **unused) {
    (void)unused;
    st_expect(&server, 200, "\"data\":[\"7:1\",\"7:3\",\"-2:0\",\"9:2\",\"5:0\",\"1:1\"]", "POST",
              "/v2/models/longs/infer",
              "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"INT64\",\"shape\":[2,4],\"data\":[-2,7,-3,7,5,1,9,0]}],"
              "\"outputs\":[{\"name\":\"y\",\"parameters\":{\"classification\":3}}]}");
    st_expect(&server, 200, "\"shape\":[1,3],\"data\":[\"1.500000:2\",\"1.250000:0\",\"-1.000000:1\"]", "POST",
              "/v2/models/doubles/infer",
              "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP64\",\"shape\":[1,3],\"data\":[1.25,-1,1.5]}],"
              "\"outputs\":[{\"name\":\"y\",\"parameters\":{\"classification\":1000000}}]}");
}

static void wrong_requests(void **unused) {
    (void)unused;
    static const struct {
        int status;
        const char *part, *body;
    } cases[] = {
        {400, "an object is missing", ""},
        {400, "byte 0", "x"},
        {400, "an object wanted", "[]"},
        {400, "no \\\"inputs\\\"", "{}"},
        {400, "byte", "{\"inputs\":[" X "]"},
        {400, "something follows", "{\"inputs\":[" X "]}}"},
        {400, "twice", "{\"inputs\":[" X "],\"inputs\":[" X "]}"},
        {400, "given twice", "{\"inputs\":[" X "," X "]}"},
        {400, "is missing", "{\"inputs\":[]}"},
        {400, "no input 'z'",
         "{\"inputs\":[{\"name\":\"z\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}"},
        {400, "wants FP32", "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}"},
        {400, "wants FP32",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"float\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}"},
        {400, "the model wants [-1,4]",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[4],\"data\":[1,2,3,4]}]}"},
        {400, "the model wants [-1,4]",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,5],\"data\":[1,2,3,4,5]}]}"},
        {400, "negative", "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[-1,4],\"data\":[1,2,3,4]}]}"},
        {400, "3 elements", "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3]}]}"},
        {400, "more than the 4",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4,5]}]}"},
        {400, "list of 3 items",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[[1,2,3]]}]}"},
        {400, "more than 1 items",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[[1,2,3,4],[1,2,3,4]]}]}"},
        {400, "not a number",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,NaN]}]}"},
        {400, "not a number",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,null]}]}"},
        {400, "not a number",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,Infinity]}]}"},
        {400, "too large",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,1e39]}]}"},
        {400, "not a number",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,\"4\"]}]}"},
        {400, "more than the request can hold",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1000000000,4],\"data\":[1]}]}"},
        {400, "too many elements",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[9223372036854775807,4],\"data\":[1]}]}"},
        {400, "too large",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[99999999999999999999,4],\"data\":[1]}]}"},
        {400, "not a whole number",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1.0,4],\"data\":[1,2,3,4]}]}"},
        {400, "no \\\"data\\\"", "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4]}]}"},
        {400, "no \\\"shape\\\"", "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"data\":[1,2,3,4]}]}"},
        {400, "no \\\"datatype\\\"", "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}"},
        {400, "without \\\"name\\\"", "{\"inputs\":[{\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}"},
        {400, "\\\"data\\\" twice",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4],\"data\":[1,2,3,4]}]}"},
        {400, "\\\"name\\\" twice",
         "{\"inputs\":[{\"name\":\"x\",\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}"},
        {400, "no output 'q'", "{\"inputs\":[" X "],\"outputs\":[{\"name\":\"q\"}]}"},
        {400, "\\\"parameters\\\" twice",
         "{\"inputs\":[" X "],\"outputs\":[{\"name\":\"y\",\"parameters\":{},\"parameters\":{}}]}"},
        {400, "asked for twice", "{\"inputs\":[" X "],\"outputs\":[{\"name\":\"y\"},{\"name\":\"y\"}]}"},
        {400, "true or false",
         "{\"inputs\":[" X "],\"outputs\":[{\"name\":\"y\",\"parameters\":{\"binary_data\":1}}]}"},
        {400, "shared memory",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"parameters\":{\"shared_memory_region\":"
         "\"r\"}}]}"},
        {400, "sequences", "{\"parameters\":{\"sequence_id\":1},\"inputs\":[" X "]}"},
        {400, "configured for at most 8",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[9,4],\"data\":"
         "[1,2,3,4,1,2,3,4,1,2,3,4,1,2,3,4,1,2,3,4,1,2,3,4,1,2,3,4,1,2,3,4,1,2,3,4]}]}"},
        {400, "wrong escape", "{\"id\":\"\\x\",\"inputs\":[" X "]}"},
        {400, "wrong escape", "{\"id\":\"\\ud800\",\"inputs\":[" X "]}"},
        {400, "zero character", "{\"id\":\"\\u0000\",\"inputs\":[" X "]}"},
        {400, "UTF-8", "{\"id\":\"\xff\",\"inputs\":[" X "]}"},
        {400, "control character", "{\"id\":\"\n\",\"inputs\":[" X "]}"},
        {400, "left",
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"parameters\":{\"binary_data_size\":16}}]"
         "}"},
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        st_expect(&server, cases[i].status, cases[i].part, "POST", ROWS, cases[i].body);
}

static void deep_nesting(void **unused) {
    (void)unused;
    enum { N = 100000 };
    char *body = malloc(2 * N + 100);
    assert_non_null(body);
    memcpy(body, "{\"a\":", 5);
    memset(body + 5, '[', N);
    body[N + 5] = '\0';
    st_expect(&server, 400, "levels of brackets", "POST", ROWS, body);
    for (int i = 0; i < N; i++) memcpy(body + 5 + 2 * i, "[{", 2);
    body[5 + 2 * N] = '\0';
    st_expect(&server, 400, "byte", "POST", ROWS, body);
    free(body);
}

static void paths(void **unused) {
    (void)unused;
    st_expect(&server, 404, "nope", "POST", "/v2/models/nope/infer", "{}");
    st_expect(&server, 404, "no version 7", "POST", "/v2/models/rows/versions/7/infer", "{}");
    st_expect(&server, 400, "no number", "POST", "/v2/models/rows/versions/x/infer", "{}");
    st_expect(&server, 405, "POST", "GET", ROWS, NULL);
    st_expect(&server, 404, "error", "GET", "/v2/models", NULL);
    st_expect(&server, 404, "error", "GET", "/v2/models//infer", NULL);
    st_expect(&server, 404, "error", "GET", "/v2/models/rows/../../../etc/passwd", NULL);
    st_expect(&server, 404, "..", "GET", "/v2/models/..", NULL);
    st_expect(&server, 404, "..", "POST", "/v2/repository/models/../load", NULL);
    st_expect(&server, 200, "\"extensions\":[\"classification\"", "GET", "/v2", NULL);
    st_expect(&server, 200,
              "\"versions\":[\"1\"],\"platform\":\"onnx_onnxv1\",\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\","
              "\"shape\":[-1,4]}],\"outputs\":[{\"name\":\"y\",\"datatype\":\"FP32\",\"shape\":[-1,3]}]",
              "GET", "/v2/models/rows", NULL);
    st_expect(&server, 200,
              "\"max_batch_size\":8,\"input\":[{\"name\":\"x\",\"data_type\":\"TYPE_FP32\",\"dims\":[4]}]", "GET",
              "/v2/models/rows/config", NULL);
    st_expect(&server, 200, "\"max_batch_size\":0", "GET", "/v2/models/mixed/config",
              NULL); /* its rows depend on each other */
    st_expect(&server, 200, "{\"name\":\"rows\",\"ready\":true}", "GET", "/v2/models/rows/versions/1/ready", NULL);
    st_expect(&server, 200, "{\"live\":true}", "GET", "/v2/health/live", NULL);
    st_expect(&server, 200, "{\"ready\":true}", "GET", "/v2/health/ready", NULL);
    st_expect(&server, 200, "\"inference_stats\":{\"success\":{\"count\":", "GET", "/v2/models/rows/stats", NULL);
    st_expect(&server, 200, "{\"name\":\"rows\",\"version\":\"1\",\"state\":\"READY\",\"reason\":\"\"}", "POST",
              "/v2/repository/index", "{\"ready\":true}");
    st_expect(&server, 200, "nv_inference_request_success{model=\"rows\",version=\"1\"} ", "GET", "/metrics", NULL);
    st_expect(&server, 400, "does not classify", "POST", "/v1/models/rows:classify", "x");
}

/* ---- datatypes ---------------------------------------------------------------------------------------------- */

static void every_type_in_json(void **unused) {
    (void)unused;
    static const struct {
        const char *type, *data;
    } cases[] = {{"FP32", "[0.1,-1.5,3e38]"},
                 {"FP64", "[0.1,-1e300,5]"},
                 {"INT8", "[-128,127,0]"},
                 {"INT16", "[-32768,32767,0]"},
                 {"INT32", "[-2147483648,2147483647,0]"},
                 {"INT64", "[-9223372036854775808,9223372036854775807,0]"},
                 {"UINT8", "[255,0,1]"},
                 {"UINT16", "[65535,0,1]"},
                 {"UINT32", "[4294967295,0,1]"},
                 {"UINT64", "[18446744073709551615,0,1]"},
                 {"BOOL", "[true,false,true]"},
                 {"BYTES", "[\"\",\"a\\\"\\u00e4\\ud83d\\ude00\",\"b\"]"}};
    tn_text body;
    tn_text_init(&body);
    tn_text_add(&body, "{\"inputs\":[");
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        tn_text_add(&body, "{\"name\":\"in_%s\",\"datatype\":\"%s\",\"shape\":[3],\"data\":%s},", cases[i].type,
                    cases[i].type, cases[i].data);
    /* These have no form in JSON. */
    tn_text_add(&body,
                "{\"name\":\"in_FP16\",\"datatype\":\"FP16\",\"shape\":[3],\"parameters\":{\"binary_data_size\":6}},"
                "{\"name\":\"in_BF16\",\"datatype\":\"BF16\",\"shape\":[3],\"parameters\":{\"binary_data_size\":6}}],"
                "\"outputs\":[");
    for (size_t i = 0; i < TN_COUNT(cases); i++)
        tn_text_add(&body, "%s{\"name\":\"out_%s\"}", i ? "," : "", cases[i].type);
    tn_text_add(&body, "]}");
    char length[32];
    snprintf(length, sizeof length, "%zu", body.len);
    tn_text_add_str(&body, "\0\x3c\0\xc0\0\0\x80\x3f\0\xc0\0\0", 12);
    st_answer a;
    st_send(&server, &a, "POST", "/v2/models/types/infer", NULL, length, body.data, body.len);
    st_wait(&a);
    if (a.x.status != 200) fail_msg("%s", a.x.out.data);
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        char part[300];
        const char *data = strcmp(cases[i].type, "FP32") == 0    ? "[0.1,-1.5,3e38]"
                           : strcmp(cases[i].type, "FP64") == 0  ? "[0.1,-1e+300,5]"
                           : strcmp(cases[i].type, "BYTES") == 0 ? "[\"\",\"a\\\"\xc3\xa4\xf0\x9f\x98\x80\",\"b\"]"
                                                                 : cases[i].data;
        snprintf(part, sizeof part, "{\"name\":\"out_%s\",\"datatype\":\"%s\",\"shape\":[3],\"data\":%s}",
                 cases[i].type, cases[i].type, data);
        if (!strstr(a.x.out.data, part)) fail_msg("no %s in %s", part, a.x.out.data);
    }
    st_release(&a);
    tn_text_release(&body);
}

/* Two elements of every type, as bytes; the answer must hold the same bytes. */
static void every_type_in_binary(void **unused) {
    (void)unused;
    tt_rng rng = tt_rng_init(3);
    tn_text json, tail, body;
    tn_text_init(&json);
    tn_text_init(&tail);
    tn_text_init(&body);
    tn_text_add(&json, "{\"parameters\":{\"binary_data_output\":true},\"inputs\":[");
    for (tern_dtype t = TERN_FLOAT; t < TERN_DTYPE_COUNT; t++) {
        const char *type = serve_datatype(t);
        if (!type) continue;
        uint8_t bytes[64];
        size_t n = 2 * tern_dtype_size(t);
        tt_fill_bytes(&rng, bytes, n);
        if (t == TERN_BOOL) memcpy(bytes, "\1\0", 2);
        if (t == TERN_STRING) n = 4 + 3 + 4, memcpy(bytes, "\3\0\0\0a\0\xff\0\0\0\0", n);
        tn_text_add(
            &json, "%s{\"name\":\"in_%s\",\"datatype\":\"%s\",\"shape\":[2],\"parameters\":{\"binary_data_size\":%zu}}",
            tail.len ? "," : "", type, type, n);
        tn_text_add_str(&tail, (const char *)bytes, n);
    }
    tn_text_add(&json, "]}");
    char length[32];
    snprintf(length, sizeof length, "%zu", json.len);
    tn_text_add_str(&body, json.data, json.len);
    tn_text_add_str(&body, tail.data, tail.len);
    st_answer a;
    st_send(&server, &a, "POST", "/v2/models/types/infer", NULL, length, body.data, body.len);
    st_wait(&a);
    if (a.x.status != 200) fail_msg("%s", a.x.out.data);
    assert_string_equal(a.x.type, "application/octet-stream");
    assert_true(a.x.header_length > 0 && (size_t)a.x.header_length < a.x.out.len);
    assert_int_equal(a.x.out.len - (size_t)a.x.header_length, tail.len);
    assert_memory_equal(a.x.out.data + a.x.header_length, tail.data, tail.len);
    st_release(&a);
    /* One byte less, one more, a header length beyond the body. */
    for (int change = -1; change <= 1; change += 2) {
        tn_text_add_str(&body, "", 1);
        st_send(&server, &a, "POST", "/v2/models/types/infer", NULL, length, body.data,
                change < 0 ? body.len - 2 : body.len);
        st_wait(&a);
        assert_int_equal(a.x.status, 400);
        st_release(&a);
    }
    static const char *const lengths[] = {"999999999", "-1", "x", "", "18446744073709551616"};
    for (size_t i = 0; i < TN_COUNT(lengths); i++) {
        st_send(&server, &a, "POST", "/v2/models/types/infer", NULL, lengths[i], body.data, body.len);
        st_wait(&a);
        assert_int_equal(a.x.status, 400);
        st_release(&a);
    }
    tn_text_release(&json);
    tn_text_release(&tail);
    tn_text_release(&body);
}

static void raw_bytes(void **unused) {
    (void)unused;
    const float x[] = {1, 2, 3, 4, 4, 3, 2, 1};
    st_answer a;
    st_send(&server, &a, "POST", ROWS, NULL, "0", x, sizeof x);
    st_wait(&a);
    assert_int_equal(a.x.status, 200);
    assert_non_null(strstr(a.x.out.data, "\"shape\":[2,3],\"parameters\":{\"binary_data_size\":24}"));
    assert_int_equal(a.x.out.len - (size_t)a.x.header_length, 24);
    st_release(&a);
    st_send(&server, &a, "POST", ROWS, NULL, "0", x, 20);
    st_wait(&a);
    assert_int_equal(a.x.status, 400);
    st_release(&a);
    st_send(&server, &a, "POST", ROWS, NULL, "0", "", 0);
    st_wait(&a);
    assert_int_equal(a.x.status, 400);
    assert_non_null(strstr(a.x.out.data, "the body is empty"));
    st_release(&a);
}

static void ranges_of_types(void **unused) {
    (void)unused;
    static const char *const cases[][2] = {
        {"INT8", "128"},      {"INT8", "-129"},        {"UINT8", "256"},
        {"UINT8", "-1"},      {"INT32", "2147483648"}, {"UINT64", "18446744073709551616"},
        {"INT64", "1.5"},     {"INT16", "1e2"},        {"BOOL", "2"},
        {"BOOL", "\"true\""}, {"BYTES", "1"},          {"FP64", "1e999"}};
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        char body[300];
        snprintf(body, sizeof body,
                 "{\"inputs\":[{\"name\":\"in_%s\",\"datatype\":\"%s\",\"shape\":[1],\"data\":[%s]}]}", cases[i][0],
                 cases[i][0], cases[i][1]);
        st_expect(&server, 400, "byte", "POST", "/v2/models/types/infer", body);
    }
    st_expect(&server, 400, "no form in JSON", "POST", "/v2/models/types/infer",
              "{\"inputs\":[{\"name\":\"in_FP16\",\"datatype\":\"FP16\",\"shape\":[1],\"data\":[1]}]}");
}

/* Whatever the length of the JSON, the bytes behind it are aligned, and the answer is the same. */
static void binary_tensors_in_place(void **unused) {
    (void)unused;
    static const char head[] = "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],"
                               "\"parameters\":{\"binary_data_size\":16}}]}";
    static const float row[4] = {0.5f, -1, 2, 0.25f};
    char body[sizeof head + 40 + sizeof row], first[400] = "", length[16];
    for (size_t spaces = 0; spaces < 40; spaces++) {
        size_t json = sizeof head - 1 + spaces, size = json + sizeof row;
        memcpy(body, head, sizeof head - 1);
        memset(body + sizeof head - 1, ' ', spaces);
        memcpy(body + json, row, sizeof row);
        snprintf(length, sizeof length, "%zu", json);
        st_answer a;
        st_send(&server, &a, "POST", "/v2/models/rows/infer", NULL, length, body, size);
        st_wait(&a);
        assert_int_equal(a.x.status, 200);
        tn_str have = serve_body(&a.x);
        assert_int_equal((uintptr_t)(have.data + json) % SERVE_BODY_ALIGNMENT, 0);
        assert_int_equal(have.len, size);
        assert_memory_equal(have.data, body, size);
        if (spaces == 0) snprintf(first, sizeof first, "%s", a.x.out.data);
        assert_string_equal(a.x.out.data, first);
        st_release(&a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(classification),
        cmocka_unit_test(classification_of_types),
        cmocka_unit_test(wrong_requests),
        cmocka_unit_test(deep_nesting),
        cmocka_unit_test(paths),
        cmocka_unit_test(every_type_in_json),
        cmocka_unit_test(every_type_in_binary),
        cmocka_unit_test(binary_tensors_in_place),
        cmocka_unit_test(raw_bytes),
        cmocka_unit_test(ranges_of_types),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
