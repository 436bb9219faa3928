/* From method and path to a handler. */
#include <string.h>
#include <strings.h>

#include "serve/server.h"

enum {
    QUICK = 1,   /* runs on the thread of the socket, and is done when it returns */
    NO_KEY = 2,  /* for probes, and for the page that asks for the key */
    CONTROL = 4, /* changes what is served */
    SMALL = 8    /* on the thread of the socket when the body is small */
};

/* {m} and {v} stand for any text without '/'. */
static const struct route {
    const char *method, *pattern;
    serve_handler handler;
    unsigned flags;
} routes[] = {
    {"POST", "/v2/models/{m}/infer", serve_v2_infer, SMALL},
    {"POST", "/v2/models/{m}/versions/{v}/infer", serve_v2_infer, SMALL},
    {"POST", "/v1/models/{m}:classify", serve_classify, 0},
    {"POST", "/v1/models/{m}/versions/{v}:classify", serve_classify, 0},
    {"POST", "/v1/models/{m}:detect", serve_detect, 0},
    {"POST", "/v1/models/{m}/versions/{v}:detect", serve_detect, 0},
    {"GET", "/v2/health/live", serve_v2_live, QUICK | NO_KEY},
    {"GET", "/v2/health/ready", serve_v2_ready, QUICK | NO_KEY},
    {"GET", "/v2", serve_v2_server, QUICK},
    {"GET", "/v2/models/stats", serve_v2_stats, QUICK},
    {"GET", "/v2/models/{m}", serve_v2_model, QUICK},
    {"GET", "/v2/models/{m}/versions/{v}", serve_v2_model, QUICK},
    {"GET", "/v2/models/{m}/ready", serve_v2_model_ready, QUICK},
    {"GET", "/v2/models/{m}/versions/{v}/ready", serve_v2_model_ready, QUICK},
    {"GET", "/v2/models/{m}/config", serve_v2_config, QUICK},
    {"GET", "/v2/models/{m}/versions/{v}/config", serve_v2_config, QUICK},
    {"GET", "/v2/models/{m}/stats", serve_v2_stats, QUICK},
    {"GET", "/v2/models/{m}/versions/{v}/stats", serve_v2_stats, QUICK},
    {"POST", "/v2/repository/index", serve_v2_index, QUICK},
    {"POST", "/v2/repository/models/{m}/load", serve_v2_load, CONTROL},
    {"POST", "/v2/repository/models/{m}/unload", serve_v2_unload, CONTROL},
    {"GET", "/metrics", serve_metrics, QUICK},
    {"GET", "/", serve_page, QUICK | NO_KEY},
    {"GET", "/style.css", serve_page_style, QUICK | NO_KEY},
    {"GET", "/app.js", serve_page_script, QUICK | NO_KEY},
};

#define SMALL_BODY 65536

static bool matches(const char *pattern, const char *path, tn_str *model, tn_str *version) {
    *model = *version = (tn_str){"", 0};
    while (*pattern) {
        if (*pattern != '{') {
            if (*pattern++ != *path++) return false;
            continue;
        }
        tn_str *into = pattern[1] == 'm' ? model : version;
        pattern += 3;
        size_t n = strcspn(path, "/");
        /* The name ends where the rest of the pattern begins. */
        if (*pattern == ':') {
            size_t rest = strlen(pattern);
            if (n <= rest || memcmp(path + n - rest, pattern, rest) != 0) return false;
            n -= rest;
        }
        if (n == 0) return false;
        *into = (tn_str){path, n};
        path += n;
    }
    return *path == '\0';
}

typedef struct found {
    const struct route *route;
    tn_str model, version;
    bool path_known; /* for another method */
    const char *allow;
} found;

static found find(const serve_exchange *x) {
    found f = {0};
    const char *method = strcmp(x->method, "HEAD") == 0 ? "GET" : x->method;
    for (size_t i = 0; i < TN_COUNT(routes); i++) {
        if (!matches(routes[i].pattern, x->path, &f.model, &f.version)) continue;
        f.path_known = true;
        f.allow = strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" : routes[i].method;
        if (strcmp(routes[i].method, method) != 0) continue;
        f.route = &routes[i];
        return f;
    }
    return f;
}

bool serve_is_quick(const serve_exchange *x) {
    found f = find(x);
    if (!f.route) return true;
    return (f.route->flags & QUICK) || ((f.route->flags & SMALL) && serve_body(x).len <= SMALL_BODY);
}

/* ---- keys --------------------------------------------------------------------------------------------------- */

/* The time depends on the lengths alone. */
static bool same_key(const char *given, const char *key) {
    size_t n = strlen(given), m = strlen(key);
    volatile unsigned char difference = n != m;
    for (size_t i = 0; i < n; i++) difference = difference | (unsigned char)(given[i] ^ key[m ? i % m : 0]);
    return difference == 0;
}

static bool key_ok(const serve_exchange *x) {
    const serve_server *s = x->server;
    if (s->n_keys == 0) return true;
    const char *given = x->headers.api_key;
    if (!given && x->headers.authorization && strncasecmp(x->headers.authorization, "Bearer ", 7) == 0) {
        given = x->headers.authorization + 7;
    }
    if (!given) return false;
    bool good = false;
    for (size_t i = 0; i < s->n_keys; i++) good = same_key(given, s->keys[i]) || good;
    return good;
}

/* ---- pages of others ---------------------------------------------------------------------------------------- */

/* A browser sends the origin of the page that calls. Without this check any page could use a server on localhost. */
static bool origin_ok(const serve_exchange *x) {
    const char *origin = x->headers.origin, *cors = x->server->options->cors;
    if (!origin || (cors && (strcmp(cors, "*") == 0 || strcmp(cors, origin) == 0))) return true;
    const char *host = strstr(origin, "://");
    return host && x->headers.host && strcmp(host + 3, x->headers.host) == 0;
}

/* Names that only this machine answers to, and addresses, which nobody's name service can redirect. */
static bool is_local_or_address(const char *host, size_t n) {
    if (n > 0 && host[0] == '[') return true;
    if (n > 0 && strspn(host, "0123456789.") >= n) return true;
    static const char local[] = "localhost";
    size_t m = sizeof local - 1;
    return n >= m && strncasecmp(host + n - m, local, m) == 0 && (n == m || host[n - m - 1] == '.');
}

static bool is_listed(const char *list, const char *host, size_t n) {
    while (*list) {
        size_t m = strcspn(list, ",");
        if (m == 1 && *list == '*') return true;
        bool below = m > 0 && *list == '.'; /* all names that end so */
        if (m > 0 && (below ? n > m : n == m) && strncasecmp(host + n - m, list, m) == 0) return true;
        list += m + (list[m] == ',');
    }
    return false;
}

/* DNS rebinding: a page's own name is made to resolve to this machine, so that for the browser page and server are of
 * one origin. The name is still in Host. */
static bool host_ok(const serve_exchange *x) {
    const char *host = x->headers.host, *allowed = x->server->options->allowed_hosts;
    if (!host || (!allowed && !x->server->local_only)) return true;
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (n > 0 && host[n - 1] == '.') n--;
    return is_local_or_address(host, n) || (allowed && is_listed(allowed, host, n));
}

/* The question before a call from another page (CORS): no key comes with it. */
static bool is_preflight(const serve_exchange *x) {
    return x->server->options->cors && x->headers.origin && strcmp(x->method, "OPTIONS") == 0;
}

/* ---- the door ----------------------------------------------------------------------------------------------- */

void serve_dispatch(serve_exchange *x) {
    found f = find(x);
    unsigned flags = f.route ? f.route->flags : 0;
    bool refused = true;
    if (!host_ok(x)) {
        serve_error(x, 403, "this server is not called '%.100s' (--allowed-hosts)", x->headers.host);
    } else if (!origin_ok(x)) {
        serve_error(x, 403, "this server takes no calls from pages of other origins (--cors)");
    } else if (is_preflight(x)) {
        x->status = 204;
    } else if (!(flags & NO_KEY) && !key_ok(x)) {
        serve_error(x, 401, "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY");
    } else if (!f.path_known) {
        serve_error(x, 404, "there is nothing at this path");
    } else if (!f.route) {
        x->allow = f.allow;
        serve_error(x, 405, "the method here is %s", f.allow);
    } else if ((flags & CONTROL) && x->server->options->no_control) {
        serve_error(x, 403, "models can not be loaded or unloaded by clients of this server");
    } else {
        refused = false;
    }
    if (!refused) {
        /* What ends an exchange may release it, so nothing of it is touched after a handler that does so itself. */
        f.route->handler(x, f.model, f.version);
        if (!(flags & QUICK)) return;
    }
    serve_done(x);
}
