/* The server on a socket: what a client of this project's own making sends, byte by byte. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "serve/http.h"
#include "serve_test.h"

static st_server server;
static serve_http *http;

static void no_note(void *context, const char *line) {
    (void)context;
    (void)line;
}

static int set_up_server(size_t max_body, int request_seconds) {
    tern_error err;
    if (!serve_http_library()) return 0;
    st_begin(&server);
    st_add_rows(&server, "rows", 1, 1);
    server.options.port = 0;
    server.options.max_body = max_body;
    server.options.request_seconds = request_seconds;
    server.options.allowed_hosts = "x,.example.org";
    st_start(&server);
    if (serve_http_start(&http, &server.server, no_note, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    return 0;
}

static int set_up(void **unused) {
    (void)unused;
    return set_up_server(4096, 2);
}

/* No time limit helps here. */
static int set_up_patient(void **unused) {
    (void)unused;
    return set_up_server((size_t)1 << 20, 3600);
}

static int tear_down(void **unused) {
    (void)unused;
    if (!http) return 0;
    for (int i = 0; i < 500 && atomic_load(&server.server.under_way) > 0; i++) usleep(10000);
    serve_http_stop(http);
    st_stop(&server);
    return 0;
}

static int dial(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)serve_http_port(http))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void put(int fd, const char *text) {
    size_t n = strlen(text);
    ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);
    (void)sent; /* the server may have closed already */
}

/* What comes until the server closes, or `until` is in it, or nothing has come for so long. */
static size_t get(int fd, char *to, size_t size, const char *until, int milliseconds) {
    size_t n = 0;
    to[0] = '\0';
    while (n + 1 < size) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, milliseconds) <= 0) break;
        ssize_t got = recv(fd, to + n, size - 1 - n, 0);
        if (got <= 0) break;
        n += (size_t)got;
        to[n] = '\0';
        if (until && strstr(to, until)) break;
    }
    return n;
}

static bool closed(int fd, int milliseconds) {
    char text[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (int i = 0; i < 50; i++) {
        if (poll(&p, 1, milliseconds / 50 + 1) > 0 && recv(fd, text, sizeof text, 0) <= 0) return true;
    }
    return false;
}

#define NEEDS_HTTP \
    if (!http) tt_skip("this build has no libmicrohttpd")

#define BODY "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[1,2,3,4]}]}"

static void keeps_connections(void **unused) {
    (void)unused;
    NEEDS_HTTP;
    char text[4096], request[1024];
    int fd = dial();
    for (int i = 0; i < 3; i++) {
        snprintf(request, sizeof request,
                 "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", strlen(BODY), BODY);
        put(fd, request);
        get(fd, text, sizeof text, "]}", 3000);
        assert_non_null(strstr(text, "HTTP/1.1 200 OK\r\n"));
        assert_non_null(strstr(text, "Content-Type: application/json\r\n"));
        assert_non_null(strstr(text, "\"model_name\":\"rows\""));
    }
    /* Two at once. */
    put(fd, "GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n");
    get(fd, text, sizeof text, "{\"ready\":true}", 3000);
    assert_non_null(strstr(text, "{\"live\":true}"));
    assert_non_null(strstr(text, "{\"ready\":true}"));
    /* In pieces, chunked. */
    put(fd, "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    snprintf(request, sizeof request, "%zx\r\n%.10s\r\n", (size_t)10, BODY);
    put(fd, request);
    usleep(20000);
    snprintf(request, sizeof request, "%zx\r\n%s\r\n0\r\n\r\n", strlen(BODY) - 10, &BODY[10]);
    put(fd, request);
    get(fd, text, sizeof text, "]}", 3000);
    assert_non_null(strstr(text, "HTTP/1.1 200"));
    close(fd);
}

static void refuses_odd_requests(void **unused) {
    (void)unused;
    NEEDS_HTTP;
    static const struct {
        const char *status, *request;
    } cases[] = {
        {" 400",
         "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"},
        {" 400", "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: "
                 "chunked\r\n\r\n0\r\n\r\n"},
        {" 400",
         "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"},
        {" 400", "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
        {" 400", "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"},
        {" 400", "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello"},
        {" 400", "GET /v2/health/live HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"},
        {" 400", "GET /v2/health/live HTTP/1.1\r\nHost: x\r\nX-Other: a\rContent-Length: 5\r\n\r\n"},
        {" 400", "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"},
        {" 4", "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n"},
        {" 413", "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n\r\n"},
        {" 415",
         "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"},
        {" 400",
         "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"},
        {" 404", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"},
        {" 404", "GET /v2/models/%2e%2e%2fetc HTTP/1.1\r\nHost: x\r\n\r\n"},
        {" 404", "GET /v2/models/rows%00 HTTP/1.1\r\nHost: x\r\n\r\n"},
        {" 404", "GET /v2/models/rows%00/ready HTTP/1.1\r\nHost: x\r\n\r\n"},
        {" 400", "POST /v1/models/rows:classify?top=5%00 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"},
        {" 200", "GET /v2/models/%72ow%73 HTTP/1.1\r\nHost: x\r\n\r\n"},
        {" 404", "GET /v2/models/%7row%s%2 HTTP/1.1\r\nHost: x\r\n\r\n"},
        {" 200", "GET http://x/v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"},
        {" 200", "GET http://x:8000/v2/health/live HTTP/1.1\r\nHost: other\r\n\r\n"},
        {" 403", "GET http://other/v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"},
        {" 404", "GET ftp://x/v2 HTTP/1.1\r\nHost: x\r\n\r\n"},
        {" 200", "GET http://x HTTP/1.1\r\nHost: x\r\n\r\n"}, /* the page */
        {" 405", "DELETE /v2/models/rows HTTP/1.1\r\nHost: x\r\n\r\n"},
        {" 400", "GET /v2 HTTP/1.1\r\n\r\n"}, /* no Host */
    };
    for (size_t i = 0; i < TN_COUNT(cases); i++) {
        char text[4096];
        int fd = dial();
        put(fd, cases[i].request);
        get(fd, text, sizeof text, "\r\n\r\n", 3000);
        const char *space = strchr(text, ' ');
        if (!space || strncmp(space, cases[i].status, strlen(cases[i].status)) != 0)
            fail_msg("%s -> %s", cases[i].request, text);
        close(fd);
    }
    /* Something that is not HTTP, and nothing at all. */
    int fd = dial();
    put(fd, "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n");
    assert_true(closed(fd, 5000));
    close(fd);
    close(dial());
    char text[1000];
    fd = dial();
    put(fd, "GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n");
    get(fd, text, sizeof text, "true", 3000);
    assert_non_null(strstr(text, "{\"live\":true}"));
    close(fd);
}

/* Names under which a page of somebody else could call (DNS rebinding). */
static void takes_its_own_names_only(void **unused) {
    (void)unused;
    NEEDS_HTTP;
    static const struct {
        const char *host;
        int status, local_status; /* with a list of names; without, bound to loopback */
    } cases[] = {
        {"x", 200, 403},
        {"X:8000", 200, 403},
        {"a.example.org", 200, 403},
        {"example.org", 403, 403},
        {"example.org.evil.net", 403, 403},
        {"localhost", 200, 200},
        {"LocalHost.:8000", 200, 200},
        {"tern.localhost:1", 200, 200},
        {"notlocalhost", 403, 403},
        {"localhost.evil.net", 403, 403},
        {"127.0.0.1:8000", 200, 200},
        {"192.168.1.7", 200, 200},
        {"127.0.0.1.evil.net", 403, 403},
        {"[::1]:8000", 200, 200},
    };
    assert_true(server.server.local_only);
    const char *list = server.options.allowed_hosts;
    for (size_t i = 0; i < 2 * TN_COUNT(cases); i++) {
        st_answer a = {0};
        size_t k = i / 2;
        server.options.allowed_hosts = i % 2 ? NULL : list;
        serve_exchange_init(&a.x, &server.server);
        pthread_mutex_init(&a.mutex, NULL);
        pthread_cond_init(&a.wake, NULL);
        a.x.finished = st_finished;
        a.x.transport = &a;
        a.x.method = "GET";
        a.x.path = "/v2";
        a.x.headers.host = cases[k].host;
        serve_dispatch(&a.x);
        if (a.x.status != (i % 2 ? cases[k].local_status : cases[k].status))
            fail_msg("%s, %s: %d", cases[k].host, i % 2 ? "by default" : "with a list", a.x.status);
        st_release(&a);
    }
    server.options.allowed_hosts = list;
    /* On the wire. */
    char text[4096];
    int fd = dial();
    put(fd, "GET /v2 HTTP/1.1\r\nHost: rebound.evil.net\r\nOrigin: http://rebound.evil.net\r\n\r\n");
    get(fd, text, sizeof text, "}", 3000);
    assert_non_null(strstr(text, " 403 "));
    assert_non_null(strstr(text, "--allowed-hosts"));
    close(fd);
}

static void refuses_large_headers(void **unused) {
    (void)unused;
    NEEDS_HTTP;
    int fd = dial();
    char *line = malloc(300001), text[4096];
    assert_non_null(line);
    memset(line, 'a', 300000);
    line[300000] = '\0';
    put(fd, "GET /v2 HTTP/1.1\r\nHost: x\r\nX-Long: ");
    put(fd, line);
    put(fd, "\r\n\r\n");
    get(fd, text, sizeof text, "\r\n\r\n", 3000);
    assert_true(text[0] == '\0' || strstr(text, " 431 ") || strstr(text, " 414 ") || strstr(text, " 413 "));
    close(fd);
    free(line);
    /* Many small ones. */
    fd = dial();
    put(fd, "GET /v2 HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 150; i++) put(fd, "X-A: 1\r\n");
    put(fd, "\r\n");
    get(fd, text, sizeof text, "\r\n\r\n", 3000);
    assert_non_null(strstr(text, " 431 "));
    close(fd);
}

/* A body larger than the limit without saying so. */
static void refuses_endless_bodies(void **unused) {
    (void)unused;
    NEEDS_HTTP;
    char piece[1024 + 8], text[4096];
    int fd = dial();
    put(fd, "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    memset(piece, ' ', sizeof piece);
    memcpy(piece, "400\r\n", 5);
    memcpy(piece + 5 + 1024, "\r\n", 3);
    for (int i = 0; i < 8; i++) put(fd, piece);
    put(fd, "0\r\n\r\n");
    get(fd, text, sizeof text, "}", 3000);
    assert_non_null(strstr(text, " 413 "));
    close(fd);
}

/* A byte now and then does not keep a connection, and others are served meanwhile. */
static void slow_clients_are_cut_off(void **unused) {
    (void)unused;
    NEEDS_HTTP;
    int heads[20], body = dial(), idle = dial();
    for (int i = 0; i < 20; i++) heads[i] = dial();
    put(body, "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{");
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    bool open = true;
    do {
        for (int i = 0; i < 20; i++) put(heads[i], "G");
        put(body, " ");
        usleep(200000);
        int fd = dial();
        char text[1000];
        put(fd, "GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n");
        get(fd, text, sizeof text, "true", 3000);
        assert_non_null(strstr(text, "{\"live\":true}"));
        close(fd);
        open = !closed(heads[0], 10) || !closed(body, 10) || !closed(idle, 10);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (open && now.tv_sec - begin.tv_sec < 30);
    assert_false(open);
    for (int i = 0; i < 20; i++) close(heads[i]);
    close(body);
    close(idle);
}

/* ---- a server without limits of time ------------------------------------------------------------------------- */

static void wait_until_idle(void) {
    for (int i = 0; i < 3000 && atomic_load(&server.server.under_way) > 0; i++) usleep(10000);
    assert_int_equal(atomic_load(&server.server.under_way), 0);
    assert_int_equal(atomic_load(&server.server.body_bytes), 0);
}

/* Clients that go away while their request is worked on, or before it is complete. */
static void clients_that_leave(void **unused) {
    (void)unused;
    NEEDS_HTTP;
    char request[1024];
    snprintf(request, sizeof request, "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(BODY), BODY);
    for (int i = 0; i < 200; i++) {
        int fd = dial();
        size_t n = i % 3 == 0 ? strlen(request) - (size_t)i / 3 : strlen(request);
        ssize_t sent = send(fd, request, n, MSG_NOSIGNAL);
        assert_int_equal(sent, n);
        close(fd);
    }
    wait_until_idle();
}

/* A request whose body is followed by spaces; the size of the whole. */
static size_t padded(char *to, size_t body) {
    int head = snprintf(to, 200, "POST /v2/models/rows/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", body);
    memset(to + head, ' ', body);
    memcpy(to + head, BODY, strlen(BODY));
    return (size_t)head + body;
}

enum { LARGEST = 400000, SENDERS = 6 };

/* Bodies about as large as what the server waits for at a time, in pieces of any size, and the next request right
 * behind the last byte: every one is answered, and the last ends in the middle. */
static void *send_in_pieces(void *context) {
    static const size_t sizes[] = {65535, 65536, 65537, 98304, 131072, 163839, 163840, 163841, 229376, 300000, 399000};
    tt_rng rng = tt_rng_init(*(uint64_t *)context);
    char *data = malloc(4 * LARGEST), text[4096];
    int fd = dial();
    uint64_t bad = data == NULL;
    for (int i = 0; i < 40 && !bad; i++) {
        size_t size = padded(data, sizes[tt_random(&rng) % TN_COUNT(sizes)] - tt_random(&rng) % 3), expected = 1;
        if (i % 2) expected++, size += padded(data + size, sizes[tt_random(&rng) % TN_COUNT(sizes)]);
        size_t piece = (size_t)1 << (6 + tt_random(&rng) % 13);
        if (i % 5 == 0) piece = size;
        for (size_t at = 0; at < size;) {
            ssize_t n = send(fd, data + at, TN_MIN(piece, size - at), MSG_NOSIGNAL);
            if (n <= 0) break;
            at += (size_t)n;
        }
        for (; expected > 0 && !bad; expected--) {
            get(fd, text, sizeof text, "]}]}", 60000);
            bad += strncmp(text, "HTTP/1.1 200", 12) != 0;
            const char *second = strstr(text + 1, "HTTP/1.1 200");
            if (second && strstr(second, "]}]}")) break; /* both came at once */
        }
    }
    /* Half a body, and goodbye. */
    size_t size = data ? padded(data, LARGEST) : 0;
    for (size_t at = 0, end = size / 2 + tt_random(&rng) % 90000; at < end;) {
        ssize_t n = send(fd, data + at, end - at, MSG_NOSIGNAL);
        if (n <= 0) break;
        at += (size_t)n;
    }
    close(fd);
    free(data);
    *(uint64_t *)context = bad;
    return NULL;
}

static void large_bodies_in_pieces(void **unused) {
    (void)unused;
    NEEDS_HTTP;
    pthread_t threads[SENDERS];
    uint64_t states[SENDERS];
    for (int i = 0; i < SENDERS; i++) {
        states[i] = (uint64_t)i + 1;
        assert_int_equal(pthread_create(&threads[i], NULL, send_in_pieces, &states[i]), 0);
    }
    for (int i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(states[i], 0);
    }
    wait_until_idle();
}

/* A client may end its side and still read the answer. */
static void half_closed_clients_are_answered(void **unused) {
    (void)unused;
    NEEDS_HTTP;
    char *data = malloc(LARGEST + 1000), text[4096];
    assert_non_null(data);
    for (int i = 0; i < 20; i++) {
        int fd = dial();
        size_t size = padded(data, i % 2 ? LARGEST - 1000 : strlen(BODY));
        for (size_t at = 0; at < size;) {
            ssize_t n = send(fd, data + at, size - at, MSG_NOSIGNAL);
            assert_true(n > 0);
            at += (size_t)n;
        }
        shutdown(fd, SHUT_WR);
        get(fd, text, sizeof text, "]}]}", 60000);
        assert_true(strncmp(text, "HTTP/1.1 200", 12) == 0);
        close(fd);
    }
    free(data);
    wait_until_idle();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_connections),        cmocka_unit_test(refuses_odd_requests),
        cmocka_unit_test(refuses_large_headers),    cmocka_unit_test(refuses_endless_bodies),
        cmocka_unit_test(slow_clients_are_cut_off), cmocka_unit_test(takes_its_own_names_only),
    };
    const struct CMUnitTest patient[] = {
        cmocka_unit_test(clients_that_leave),
        cmocka_unit_test(large_bodies_in_pieces),
        cmocka_unit_test(half_closed_clients_are_answered),
    };
    int failed = cmocka_run_group_tests_name("http", tests, set_up, tear_down);
    return failed + cmocka_run_group_tests_name("http, patient", patient, set_up_patient, tear_down);
}
