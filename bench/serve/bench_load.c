/* A load generator for ./do bench serve: one thread, any number of connections that are kept alive.
 *
 *     bench_load PORT CONNECTIONS SECONDS FILE
 *     bench_load plain BYTES SECONDS FILE
 *
 * FILE is a whole request, head and body, for a server at 127.0.0.1; each connection sends it, reads the answer, and
 * sends it again until the SECONDS are over; every request gets its answer, and the rate is that of all of them until
 * the last. Prints one object of JSON: answers, those that were no 200, times in milliseconds, bytes of an
 * answer. It costs the server's machine a few microseconds a request, because the file's pages are sent as they are; a
 * client in a scripting language would be what is measured.
 *
 * `plain` is one connection to a thread that takes the request's bytes off a socket and answers with BYTES: what the
 * machine needs to carry them, without any server. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

#define MAX_CONNECTIONS 4096
#define HEAD            8192 /* bytes of an answer's head */
#define LONGEST_MS      30000

typedef struct client {
    int fd;
    size_t sent;
    char head[HEAD];
    size_t head_len;
    size_t left, body; /* bytes of the answer's body: to come, in all */
    bool in_body;
    uint64_t begin_ns;
} client;

typedef struct load {
    int file;
    size_t size; /* of the request */
    int port, epoll;
    client *clients;
    int n_clients, n_waiting;
    uint64_t end_ns; /* after it no request is begun */
    uint64_t answers, errors;
    size_t answer; /* bytes of the last one */
    double *times; /* ms */
    size_t cap;
} load;

static bool fail(const char *what) {
    fprintf(stderr, "bench_load: %s: %s\n", what, strerror(errno));
    return false;
}

static bool open_client(load *l, client *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)l->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *c = (client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    int one = 1;
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0) return fail("can not connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &e) == 0 || fail("epoll");
}

static bool send_more(const load *l, client *c) {
    while (c->sent < l->size) {
        off_t at = (off_t)c->sent;
        ssize_t n = sendfile(c->fd, l->file, &at, l->size - c->sent);
        if (n < 0) return errno == EAGAIN || errno == EINTR || fail("send");
        c->sent += (size_t)n;
    }
    return true;
}

static bool begin(const load *l, client *c) {
    c->sent = c->head_len = 0;
    c->in_body = false;
    c->begin_ns = tn_clock_ns();
    return send_more(l, c);
}

static bool finish(load *l, client *c) {
    if (!tn_grow(&l->times, &l->cap, (size_t)l->answers + 1, sizeof *l->times)) return false;
    l->times[l->answers++] = (double)(tn_clock_ns() - c->begin_ns) * 1e-6;
    if (strncmp(c->head, "HTTP/1.1 200 ", 13) != 0) l->errors++;
    l->answer = c->body;
    if (tn_clock_ns() < l->end_ns) return begin(l, c);
    l->n_waiting--;
    return epoll_ctl(l->epoll, EPOLL_CTL_DEL, c->fd, NULL) == 0 || fail("epoll");
}

/* Whether the head is whole; then what of the body came with it is taken off. */
static bool read_head(client *c) {
    c->head[c->head_len] = '\0';
    const char *end = strstr(c->head, "\r\n\r\n"), *length = strcasestr(c->head, "\r\nContent-Length:");
    if (!end) return false;
    c->left = c->body = length && length < end ? (size_t)strtoull(length + 17, NULL, 10) : 0;
    c->left -= TN_MIN(c->left, c->head_len - (size_t)(end + 4 - c->head));
    c->in_body = true;
    return true;
}

static bool read_more(load *l, client *c) {
    char rest[65536];
    for (;;) {
        char *to = c->in_body ? rest : c->head + c->head_len;
        size_t room = c->in_body ? TN_MIN(sizeof rest, c->left) : HEAD - 1 - c->head_len;
        if (room == 0) {
            errno = EMSGSIZE;
            return fail("a head too long");
        }
        ssize_t n = recv(c->fd, to, room, 0);
        if (n < 0) return errno == EAGAIN || errno == EINTR || fail("recv");
        if (n == 0) {
            errno = ECONNRESET;
            return fail("the server closed a connection");
        }
        if (c->in_body) {
            c->left -= (size_t)n;
        } else {
            c->head_len += (size_t)n;
            if (!read_head(c)) continue;
        }
        if (c->left == 0) return finish(l, c);
    }
}

/* Sets *seconds to what it took. */
static bool run(load *l, double *seconds) {
    uint64_t begin_ns = tn_clock_ns();
    l->end_ns = begin_ns + (uint64_t)(*seconds * 1e9);
    l->n_waiting = l->n_clients;
    for (int i = 0; i < l->n_clients; i++) {
        if (!open_client(l, &l->clients[i]) || !begin(l, &l->clients[i])) return false;
    }
    while (l->n_waiting > 0) {
        struct epoll_event events[64];
        int n = epoll_wait(l->epoll, events, TN_COUNT(events), LONGEST_MS);
        if (n == 0) {
            errno = ETIMEDOUT;
            return fail("no answer");
        }
        for (int i = 0; i < n; i++) {
            client *c = events[i].data.ptr;
            if (!send_more(l, c) || !read_more(l, c)) return false;
        }
    }
    *seconds = (double)(tn_clock_ns() - begin_ns) * 1e-9;
    return true;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report(load *l, double seconds) {
    size_t n = (size_t)l->answers;
    if (n > 1) qsort(l->times, n, sizeof *l->times, by_value);
    printf("{\"answers\": %zu, \"errors\": %llu, \"per_second\": %.1f, \"min_ms\": %.4f, \"median_ms\": %.4f, "
           "\"p99_ms\": %.4f, \"answer_bytes\": %zu}\n",
           n, (unsigned long long)l->errors, (double)n / seconds, n ? l->times[0] : 0, n ? l->times[n / 2] : 0,
           n ? l->times[n * 99 / 100] : 0, l->answer);
}

/* ---- no server ---------------------------------------------------------------------------------------------- */

typedef struct plain {
    int listener;
    size_t request, answer; /* bytes */
    char *in, *out;
    pthread_t thread;
} plain;

static bool send_all(int fd, const char *data, size_t size) {
    for (size_t sent = 0; sent < size;) {
        ssize_t n = send(fd, data + sent, size - sent, MSG_NOSIGNAL);
        if (n <= 0) return false;
        sent += (size_t)n;
    }
    return true;
}

static void *answer_bytes(void *context) {
    plain *p = context;
    char head[80];
    int length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", p->answer);
    int fd = accept(p->listener, NULL, NULL), one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    bool good = fd >= 0;
    while (good) {
        size_t have = 0;
        while (good && have < p->request) {
            ssize_t n = recv(fd, p->in + have, p->request - have, 0);
            good = n > 0;
            have += good ? (size_t)n : 0;
        }
        good = good && send_all(fd, head, (size_t)length) && send_all(fd, p->out, p->answer);
    }
    if (fd >= 0) close(fd);
    return NULL;
}

static bool plain_start(plain *p, load *l, size_t answer) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *p = (plain){.request = l->size, .answer = answer, .in = tn_calloc(1, l->size), .out = tn_calloc(1, answer + 1)};
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = p->in && p->out && p->listener >= 0 && bind(p->listener, (struct sockaddr *)&at, sizeof at) == 0;
    good = good && listen(p->listener, 1) == 0 && getsockname(p->listener, (struct sockaddr *)&at, &size) == 0;
    l->port = ntohs(at.sin_port);
    return (good && pthread_create(&p->thread, NULL, answer_bytes, p) == 0) || fail("can not listen");
}

static void plain_stop(plain *p) {
    shutdown(p->listener, SHUT_RDWR); /* ends accept */
    if (p->thread) pthread_join(p->thread, NULL);
    close(p->listener);
    tn_free(p->in);
    tn_free(p->out);
}

/* ---- the command line --------------------------------------------------------------------------------------- */

static void close_clients(load *l) {
    for (int i = 0; l->clients && i < l->n_clients; i++) {
        if (l->clients[i].fd > 0) close(l->clients[i].fd);
    }
}

int main(int argc, char **argv) {
    load l = {.n_clients = 1};
    bool alone = argc == 5 && strcmp(argv[1], "plain") == 0;
    size_t answer = alone ? (size_t)strtoull(argv[2], NULL, 10) : 0;
    if (argc == 5 && !alone) {
        l.port = (int)strtol(argv[1], NULL, 10);
        l.n_clients = (int)strtol(argv[2], NULL, 10);
    }
    double seconds = argc == 5 ? strtod(argv[3], NULL) : 0;
    bool port = l.port >= 1 && l.port <= 65535;
    if (!(alone || port) || l.n_clients < 1 || l.n_clients > MAX_CONNECTIONS || !(seconds > 0)) {
        fprintf(stderr, "usage: bench_load PORT CONNECTIONS SECONDS FILE | plain BYTES SECONDS FILE\n");
        return 2;
    }
    struct stat info;
    signal(SIGPIPE, SIG_IGN); /* sendfile knows no MSG_NOSIGNAL */
    l.file = open(argv[4], O_RDONLY | O_CLOEXEC);
    if (l.file < 0 || fstat(l.file, &info) != 0) {
        fail(argv[4]);
        return 1;
    }
    l.size = (size_t)info.st_size;
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    l.clients = tn_calloc((size_t)l.n_clients, sizeof *l.clients);
    plain p = {0};
    bool good = l.epoll >= 0 && l.clients && (!alone || plain_start(&p, &l, answer)) && run(&l, &seconds);
    if (good) report(&l, seconds);
    close_clients(&l);
    if (alone) plain_stop(&p);
    close(l.epoll);
    close(l.file);
    tn_free(l.clients);
    tn_free(l.times);
    return good ? 0 : 1;
}
