/* A thread pool of libmicrohttpd serves all sockets by epoll. It only moves bytes: once a request is complete its
 * connection is suspended and the exchange goes to the router; when that ends it, from whatever thread, the connection
 * is resumed and the answer queued. So a slow client holds a connection, never a thread.
 *
 * A reaper closes connections that take too long to bring a request, byte by byte or not at all, or to take an answer:
 * the library's own timeout is one of inactivity, which a trickle defeats. It shuts sockets down and leaves the rest to
 * the library. It also tells the library again that a client has ended its side: epoll says so once, at an edge, which
 * libmicrohttpd 0.9.75 loses when the end is there before the last bytes are read. */
#include "serve/http.h"

#include <stdio.h>

#ifdef HAVE_MICROHTTPD

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "serve/access_log.h"
#include "serve/inflate.h"
#include "vision/library/library.h"

#define CONNECTION_MEMORY ((size_t)96 << 10) /* headers, and the pieces in which bodies come */
#define MAX_HEADERS       100
/* Of a large body, so much is to be there before the thread of the socket wakes: waking for every few segments, and
 * letting the sender wait for it, takes longer than copying them. */
#define LOW_WATER ((size_t)64 << 10)
/* With more requests under way the thread has other bodies to turn to. */
#define LOW_WATER_REQUESTS 4
/* After so long the reaper looks after a connection that waits for a request. */
#define NUDGE_NS 1000000000u

/* A connection, for the reaper. */
typedef struct peer {
    struct peer *next, *prev;
    MHD_socket socket;
    uint64_t since_ns; /* when it began to wait for a request, or for an answer to be taken */
    bool working;      /* the answer is being made: nothing is expected of the client */
} peer;

#define FUNCTIONS(F)                   \
    F(MHD_add_response_header)         \
    F(MHD_create_response_from_buffer) \
    F(MHD_destroy_response)            \
    F(MHD_get_connection_info)         \
    F(MHD_get_connection_values)       \
    F(MHD_get_connection_values_n)     \
    F(MHD_get_daemon_info)             \
    F(MHD_is_feature_supported)        \
    F(MHD_lookup_connection_value)     \
    F(MHD_queue_response)              \
    F(MHD_quiesce_daemon) F(MHD_resume_connection) F(MHD_start_daemon) F(MHD_stop_daemon) F(MHD_suspend_connection)

typedef struct library {
    FUNCTIONS(TN_LIBRARY_FIELD)
} library;

struct serve_http {
    library mhd;
    serve_server *server;
    struct MHD_Daemon *daemon;
    serve_access_log *log;
    char *cert, *key;
    void (*note)(void *context, const char *line);
    void *note_context;
    pthread_mutex_t mutex; /* of the peers */
    pthread_cond_t wake;
    peer *peers;
    bool stop, reaping;
    pthread_t reaper;
};

/* What is known of a request between the library's calls. */
typedef struct request {
    serve_exchange x;
    serve_http *http;
    struct MHD_Connection *connection;
    peer *peer;
    size_t announced; /* Content-Length; SIZE_MAX: chunked */
    size_t received;  /* bytes of the body */
    int low_water;    /* of the socket; 0: the usual */
    bool suspended, answered, bad;
} request;

/* ---- peers -------------------------------------------------------------------------------------------------- */

static void peer_state(serve_http *h, peer *p, bool working) {
    pthread_mutex_lock(&h->mutex);
    p->working = working;
    p->since_ns = tn_clock_ns();
    pthread_mutex_unlock(&h->mutex);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **slot,
                          enum MHD_ConnectionNotificationCode code) {
    serve_http *h = context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            h->mhd.MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        peer *p = tn_calloc(1, sizeof *p);
        *slot = p;
        if (!p || !info) return;
        p->socket = info->connect_fd;
        p->since_ns = tn_clock_ns();
        int one = 1;
        setsockopt(p->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        pthread_mutex_lock(&h->mutex);
        p->next = h->peers;
        if (h->peers) h->peers->prev = p;
        h->peers = p;
        pthread_mutex_unlock(&h->mutex);
        return;
    }
    peer *p = *slot;
    if (!p) return;
    pthread_mutex_lock(&h->mutex);
    if (p->prev) p->prev->next = p->next;
    if (p->next) p->next->prev = p->prev;
    if (h->peers == p) h->peers = p->next;
    pthread_mutex_unlock(&h->mutex);
    tn_free(p);
    *slot = NULL;
}

/* For a request that takes long. Nothing more can come from a client that has ended its side, so no bytes are lost by
 * not receiving any more; what was received can still be read, and answers sent. It makes an edge for epoll. And bytes
 * that are there are to be read however few they are (see LOW_WATER): slow senders count as active, and no kernel that
 * would let a socket wait for more than it has room for can stop a request. */
static void nudge(const peer *p) {
    struct pollfd look = {.fd = p->socket, .events = POLLRDHUP};
    int one = 1;
    setsockopt(p->socket, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
    if (poll(&look, 1, 0) > 0 && (look.revents & POLLRDHUP)) shutdown(p->socket, SHUT_RD);
}

static void *reap(void *context) {
    serve_http *h = context;
    uint64_t limit = (uint64_t)h->server->options->request_seconds * 1000000000u;
    pthread_mutex_lock(&h->mutex);
    while (!h->stop) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        t.tv_sec += 1;
        pthread_cond_timedwait(&h->wake, &h->mutex, &t);
        uint64_t now = tn_clock_ns();
        for (peer *p = h->peers; p; p = p->next) {
            if (p->working) continue;
            uint64_t waited = now - p->since_ns;
            if (waited > NUDGE_NS) nudge(p);
            if (waited > limit) shutdown(p->socket, SHUT_RDWR);
        }
    }
    pthread_mutex_unlock(&h->mutex);
    return NULL;
}

/* ---- requests ----------------------------------------------------------------------------------------------- */

static const char *header(request *r, const char *name) {
    const char *value = r->http->mhd.MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
    return value ? tn_arena_strndup(&r->x.arena, value, strlen(value)) : NULL;
}

typedef struct header_check {
    int count, lengths, encodings, hosts;
    bool malformed;
    const char *length, *encoding;
} header_check;

/* RFC 9110, sections 5.1 and 5.5: a name is a token, a value has no control characters but tabs. The library lets
 * through what proxies may read otherwise, such as "Content-Length : 5". */
static bool is_well_formed(const char *key, size_t key_size, const char *value, size_t value_size) {
    static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    if (key_size == 0 || strspn(key, token) != key_size) return false;
    for (size_t i = 0; i < value_size; i++) {
        if (((unsigned char)value[i] < 32 && value[i] != '\t') || value[i] == 127) return false;
    }
    return true;
}

static enum MHD_Result look_at_header(void *context, enum MHD_ValueKind kind, const char *key, size_t key_size,
                                      const char *value, size_t value_size) {
    header_check *c = context;
    (void)kind;
    c->count++;
    if (!is_well_formed(key, key_size, value, value_size)) c->malformed = true;
    if (strcasecmp(key, "Host") == 0) c->hosts++;
    if (strcasecmp(key, "Content-Length") == 0) {
        c->lengths++;
        c->length = value;
    }
    if (strcasecmp(key, "Transfer-Encoding") == 0) {
        c->encodings++;
        c->encoding = value;
    }
    return MHD_YES;
}

/* Forms in which two servers may see different requests are refused (RFC 9112, section 6.3). */
static bool check_headers(request *r) {
    header_check c = {0};
    r->http->mhd.MHD_get_connection_values_n(r->connection, MHD_HEADER_KIND, look_at_header, &c);
    const char *wrong = NULL;
    int status = 400;
    size_t n = c.length ? strlen(c.length) : 0;
    if (c.count > MAX_HEADERS) {
        wrong = "more than 100 headers";
        status = 431;
    } else if (c.malformed) {
        wrong = "a header whose name or value has characters that may not be there";
    } else if (c.hosts > 1) {
        wrong = "more than one Host";
    } else if (c.lengths > 1) {
        wrong = "more than one Content-Length";
    } else if (c.lengths && c.encodings) {
        wrong = "both Content-Length and Transfer-Encoding";
    } else if (c.encodings > 1 || (c.encoding && strcasecmp(c.encoding, "chunked") != 0)) {
        wrong = "a Transfer-Encoding other than chunked";
    } else if (c.length && (n == 0 || n > 18 || strspn(c.length, "0123456789") != n)) {
        wrong = "a Content-Length that is no number";
    }
    r->announced = c.encodings ? SIZE_MAX : 0;
    if (wrong) {
        serve_error(&r->x, status, "%s", wrong);
        return false;
    }
    if (c.length) r->announced = (size_t)strtoull(c.length, NULL, 10);
    return true;
}

static void client_of(request *r) {
    const union MHD_ConnectionInfo *info =
        r->http->mhd.MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (!info || !info->client_addr) return;
    const struct sockaddr *a = info->client_addr;
    const void *address = a->sa_family == AF_INET6
                              ? (const void *)&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr
                              : (const void *)&((const struct sockaddr_in *)(const void *)a)->sin_addr;
    if (!inet_ntop(a->sa_family, address, r->x.client, sizeof r->x.client)) r->x.client[0] = '\0';
}

static enum MHD_Result add_argument(void *context, enum MHD_ValueKind kind, const char *key, const char *value) {
    tn_text *t = context;
    (void)kind;
    tn_text_add(t, "%s%s=%s", t->len ? "&" : "", key, value ? value : "");
    return MHD_YES;
}

/* RFC 9112, section 3.2.2: a request for "http://host/path" is one for the path, and its host is what counts. */
static void split_target(serve_exchange *x) {
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; x->path && i < TN_COUNT(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (strncasecmp(x->path, schemes[i], n) != 0) continue;
        size_t host = strcspn(x->path + n, "/");
        x->headers.host = tn_arena_strndup(&x->arena, x->path + n, host);
        x->path = x->path[n + host] ? x->path + n + host : "/";
        return;
    }
}

/* %XX becomes a byte; but %00, with which texts would end early, stays what it is, and so names nothing. */
static size_t unescape(void *context, struct MHD_Connection *connection, char *text) {
    char *to = text;
    (void)context;
    (void)connection;
    for (const char *p = text; *p;) {
        unsigned value = 0;
        int have = 0;
        for (; *p == '%' && have < 2; have++) {
            char c = p[1 + have];
            int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
            if (digit < 0) break;
            value = value * 16 + (unsigned)digit;
        }
        bool escaped = have == 2 && value != 0;
        *to++ = escaped ? (char)value : *p;
        p += escaped ? 3 : 1;
    }
    *to = '\0';
    return (size_t)(to - text);
}

static request *begin(serve_http *h, struct MHD_Connection *connection, const char *url, const char *method) {
    request *r = tn_calloc(1, sizeof *r);
    if (!r) return NULL;
    serve_exchange_init(&r->x, h->server);
    r->http = h;
    r->connection = connection;
    r->x.transport = r;
    const union MHD_ConnectionInfo *info =
        h->mhd.MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    r->peer = info ? info->socket_context : NULL;
    tn_text query;
    tn_text_init(&query);
    h->mhd.MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, add_argument, &query);
    serve_exchange *x = &r->x;
    x->query = query.len ? tn_arena_strndup(&x->arena, query.data, query.len) : NULL;
    tn_text_release(&query);
    x->path = tn_arena_strndup(&x->arena, url, strlen(url));
    x->method = tn_arena_strndup(&x->arena, method, strlen(method));
    x->headers = (serve_headers){.content_type = header(r, "Content-Type"),
                                 .content_encoding = header(r, "Content-Encoding"),
                                 .accept = header(r, "Accept"),
                                 .authorization = header(r, "Authorization"),
                                 .api_key = header(r, "X-API-Key"),
                                 .header_length = header(r, "Inference-Header-Content-Length"),
                                 .traceparent = header(r, "traceparent"),
                                 .user_agent = header(r, "User-Agent"),
                                 .origin = header(r, "Origin"),
                                 .host = header(r, "Host")};
    split_target(x);
    client_of(r);
    if (x->path && x->method) return r;
    serve_exchange_release(x);
    tn_free(r);
    return NULL;
}

/* Sets how much is to come before the socket counts as readable. It is never more than what is left to come, whatever
 * the library has in its buffer: nothing would wake it. TLS comes in records, of which the library may hold one. */
static void set_low_water(request *r) {
    if (r->http->server->options->tls_cert || r->announced == SIZE_MAX) return;
    size_t left = r->announced - TN_MIN(r->announced, r->received);
    bool few = atomic_load(&r->http->server->under_way) <= LOW_WATER_REQUESTS;
    int want = few && !r->bad && left >= LOW_WATER + CONNECTION_MEMORY ? (int)LOW_WATER : 1;
    if (want == TN_MAX(r->low_water, 1)) return;
    r->low_water = want;
    setsockopt(r->peer->socket, SOL_SOCKET, SO_RCVLOWAT, &want, sizeof want);
}

/* Takes a piece of the body; false: the answer says why not. */
static bool take_body(request *r, const char *data, size_t n) {
    serve_exchange *x = &r->x;
    size_t most = x->server->options->max_body;
    size_t have = serve_body(x).len;
    if (n > most || have > most - n) {
        serve_error(x, 413, "a body of more than %zu bytes (--max-body)", most);
        return false;
    }
    if (!serve_count_body(x, n)) return false;
    size_t known = r->announced != SIZE_MAX ? r->announced : 0;
    serve_add_body(x, data, n, known - TN_MIN(known, have + n));
    if (x->body.failed) {
        serve_error(x, 503, "no memory for the body");
        return false;
    }
    return true;
}

/* ---- answers ------------------------------------------------------------------------------------------------ */

static void add_header(struct MHD_Response *response, const request *r, const char *name, const char *value) {
    r->http->mhd.MHD_add_response_header(response, name, value);
}

static void add_headers(struct MHD_Response *response, const request *r) {
    const serve_exchange *x = &r->x;
    char number[32];
    if (x->type) add_header(response, r, "Content-Type", x->type);
    if (x->header_length >= 0) {
        snprintf(number, sizeof number, "%lld", (long long)x->header_length);
        add_header(response, r, "Inference-Header-Content-Length", number);
    }
    if (x->retry_after) {
        snprintf(number, sizeof number, "%d", x->retry_after);
        add_header(response, r, "Retry-After", number);
    }
    if (x->allow) add_header(response, r, "Allow", x->allow);
    if (x->status == 401) add_header(response, r, "WWW-Authenticate", "Bearer");
    add_header(response, r, "X-Content-Type-Options", "nosniff");
    if (x->fixed.data) {
        add_header(response, r, "Cache-Control", "no-cache");
        add_header(response, r, "Content-Security-Policy",
                   "default-src 'self'; img-src 'self' blob: data:; "
                   "frame-ancestors 'none'; base-uri 'none'; form-action 'none'");
    }
    if (x->server->options->cors) {
        add_header(response, r, "Access-Control-Allow-Origin", x->server->options->cors);
        add_header(response, r, "Access-Control-Expose-Headers", "Inference-Header-Content-Length, Retry-After");
        add_header(response, r, "Vary", "Origin");
    }
    if (x->status == 204) {
        add_header(response, r, "Access-Control-Allow-Methods", "GET, HEAD, POST");
        add_header(response, r, "Access-Control-Allow-Headers",
                   "Authorization, Content-Type, Inference-Header-Content-Length, X-API-Key, traceparent");
        add_header(response, r, "Access-Control-Max-Age", "600");
    }
    if (r->bad || atomic_load(&x->server->draining)) add_header(response, r, "Connection", "close");
}

static enum MHD_Result answer(request *r) {
    serve_exchange *x = &r->x;
    bool fixed = x->fixed.data != NULL;
    /* The bytes stay where they are until the request is over. */
    struct MHD_Response *response = r->http->mhd.MHD_create_response_from_buffer(
        fixed ? x->fixed.len : x->out.len, (void *)(uintptr_t)(fixed ? x->fixed.data : x->out.data),
        MHD_RESPMEM_PERSISTENT);
    if (!response) return MHD_NO;
    add_headers(response, r);
    r->answered = true;
    peer_state(r->http, r->peer, false);
    enum MHD_Result result = r->http->mhd.MHD_queue_response(r->connection, (unsigned)x->status, response);
    r->http->mhd.MHD_destroy_response(response);
    return result;
}

static void on_finished(serve_exchange *x) {
    request *r = x->transport;
    if (r->suspended) r->http->mhd.MHD_resume_connection(r->connection);
}

static void inflate_then_dispatch(serve_exchange *x) {
    if (serve_inflate_body(x) == TERN_OK) {
        serve_dispatch(x);
    } else {
        serve_done(x);
    }
}

/* The request is complete. */
static enum MHD_Result complete(request *r) {
    serve_exchange *x = &r->x;
    peer_state(r->http, r->peer, true);
    x->finished = on_finished;
    x->begin_ns = tn_clock_ns();
    /* `suspended` is set before anybody else can see the exchange, and read by whoever ends it. */
    r->suspended = true;
    r->http->mhd.MHD_suspend_connection(r->connection);
    if (x->headers.content_encoding) {
        serve_later(x, inflate_then_dispatch);
    } else if (serve_is_quick(x)) {
        serve_dispatch(x);
    } else {
        serve_later(x, serve_dispatch);
    }
    return MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **slot) {
    serve_http *h = context;
    request *r = *slot;
    (void)version;
    if (!r) {
        r = *slot = begin(h, connection, url, method);
        if (!r || !r->peer) return MHD_NO;
        r->bad = !check_headers(r);
        if (!r->bad && r->announced != SIZE_MAX && r->announced > h->server->options->max_body) {
            serve_error(&r->x, 413, "a body of %zu bytes, at most %zu are taken (--max-body)", r->announced,
                        h->server->options->max_body);
            r->bad = true;
        }
        set_low_water(r);
        /* Before the body, and instead of it. */
        return r->bad ? answer(r) : MHD_YES;
    }
    if (r->answered) {
        *size = 0;
        return MHD_YES;
    }
    if (*size > 0) {
        if (!r->bad && !take_body(r, data, *size)) {
            r->bad = true;
            tn_text_release(&r->x.body);
        }
        r->received += *size;
        set_low_water(r);
        *size = 0;
        return MHD_YES;
    }
    if (r->suspended || r->bad) return answer(r);
    return complete(r);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **slot,
                         enum MHD_RequestTerminationCode code) {
    serve_http *h = context;
    request *r = *slot;
    (void)connection;
    if (!r) return;
    *slot = NULL;
    if (r->peer) peer_state(h, r->peer, false);
    if (r->answered) serve_access_log_write(h->log, &r->x, code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    serve_exchange_release(&r->x);
    tn_free(r);
}

/* ---- life --------------------------------------------------------------------------------------------------- */

static void on_message(void *context, const char *format, va_list args) TN_PRINTF(2, 0);
static void on_message(void *context, const char *format, va_list args) {
    serve_http *h = context;
    char text[400];
    vsnprintf(text, sizeof text, format, args);
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] == '\n') text[--n] = '\0';
    tn_utf8_clean_line(text);
    /* What clients do is no event of the server's. */
    if (tn_log_enabled(TERN_LOG_DEBUG)) h->note(h->note_context, text);
}

static tern_status listen_on(const char *host, int port, int *out, tern_error *err) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    int code = getaddrinfo(host, service, &hints, &list);
    if (code != 0) return tn_fail(err, TERN_IO, "--host %s: %s", host, gai_strerror(code));
    int fd = -1, problem = 0;
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
        int one = 1;
        if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (fd >= 0 && (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, 1024) != 0)) {
            problem = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    *out = fd;
    return fd >= 0 ? TERN_OK : tn_fail(err, TERN_IO, "can not listen on %s port %d: %s", host, port, strerror(problem));
}

static tern_status read_text(char **out, const char *path, tern_error *err) {
    tn_file file;
    TN_TRY(tn_file_map(&file, path, err));
    *out = tn_strndup((const char *)file.data, file.size);
    tn_file_unmap(&file);
    return *out ? TERN_OK : tn_fail_oom(err, 0);
}

static tern_status start(serve_http *h, int fd, tern_error *err) {
    const serve_options *o = h->server->options;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_ITC;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, h->cert}, {MHD_OPTION_HTTPS_MEM_KEY, 0, h->key}, {MHD_OPTION_END, 0, NULL}};
    if (o->tls_cert) {
        if (h->mhd.MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES) {
            return tn_fail(err, TERN_UNSUPPORTED, "this libmicrohttpd is built without TLS");
        }
        flags |= MHD_USE_TLS;
    } else {
        tls[0] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    }
    h->daemon = h->mhd.MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_message, h, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_THREAD_POOL_SIZE, (unsigned)o->http_threads, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)o->max_connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)o->request_seconds, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (h->daemon) return TERN_OK;
    return tn_fail(err, TERN_INTERNAL, "libmicrohttpd does not start%s",
                   o->tls_cert ? ": certificate and key must be PEM, and belong together" : "");
}

/* Whether only programs of this machine can connect. */
static bool is_loopback(int fd) {
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &size) != 0) return false;
    if (a.ss_family == AF_INET6) return IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)(void *)&a)->sin6_addr);
    return a.ss_family == AF_INET && ntohl(((struct sockaddr_in *)(void *)&a)->sin_addr.s_addr) >> 24 == 127;
}

tern_status serve_http_start(serve_http **out, serve_server *server, void (*note)(void *context, const char *line),
                             void *context, tern_error *err) {
    const serve_options *o = server->options;
    serve_http *h = *out = tn_calloc(1, sizeof *h);
    if (!h) return tn_fail_oom(err, sizeof *h);
    h->server = server;
    h->note = note;
    h->note_context = context;
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->wake, NULL);
#define ROW(NAME) TN_LIBRARY_ROW(library, NAME)
    static const tn_library_function functions[] = {FUNCTIONS(ROW)};
    int fd = -1;
    tern_status status = tn_library_load(MICROHTTPD_SONAME, functions, TN_COUNT(functions), &h->mhd, err);
    if (status == TERN_OK) status = serve_access_log_open(&h->log, o->access_log, err);
    if (status == TERN_OK && o->tls_cert) status = read_text(&h->cert, o->tls_cert, err);
    if (status == TERN_OK && o->tls_key) status = read_text(&h->key, o->tls_key, err);
    if (status == TERN_OK) status = listen_on(o->host, o->port, &fd, err);
    if (status == TERN_OK) {
        server->local_only = is_loopback(fd);
        status = start(h, fd, err);
    }
    if (status != TERN_OK && fd >= 0) close(fd);
    if (status == TERN_OK) h->reaping = pthread_create(&h->reaper, NULL, reap, h) == 0;
    if (status == TERN_OK && !h->reaping) status = tn_fail(err, TERN_INTERNAL, "no thread can be started");
    if (status == TERN_OK) return TERN_OK;
    serve_http_stop(h);
    *out = NULL;
    return status;
}

int serve_http_port(const serve_http *h) {
    const union MHD_DaemonInfo *info = h->mhd.MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_LISTEN_FD);
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (!info || getsockname(info->listen_fd, (struct sockaddr *)&address, &size) != 0) return 0;
    if (address.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)(void *)&address)->sin6_port);
    return ntohs(((struct sockaddr_in *)(void *)&address)->sin_port);
}

void serve_http_quiesce(serve_http *h) {
    MHD_socket fd = h->mhd.MHD_quiesce_daemon(h->daemon);
    if (fd != MHD_INVALID_SOCKET) close(fd);
}

void serve_http_stop(serve_http *h) {
    if (!h) return;
    if (h->daemon) h->mhd.MHD_stop_daemon(h->daemon);
    pthread_mutex_lock(&h->mutex);
    h->stop = true;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->mutex);
    if (h->reaping) pthread_join(h->reaper, NULL);
    serve_access_log_close(h->log);
    pthread_mutex_destroy(&h->mutex);
    pthread_cond_destroy(&h->wake);
    tn_free(h->cert);
    tn_free(h->key);
    tn_free(h);
}

const char *serve_http_library(void) { return "libmicrohttpd"; }

#else

tern_status serve_http_start(serve_http **out, serve_server *server, void (*note)(void *context, const char *line),
                             void *context, tern_error *err) {
    (void)server;
    (void)note;
    (void)context;
    *out = NULL;
    return tn_fail(err, TERN_UNSUPPORTED, "this build has no HTTP; install libmicrohttpd-dev and rebuild");
}

int serve_http_port(const serve_http *h) {
    (void)h;
    return 0;
}

void serve_http_quiesce(serve_http *h) { (void)h; }
void serve_http_stop(serve_http *h) { (void)h; }
const char *serve_http_library(void) { return NULL; }

#endif
