/* .tern files: a model with what preparing it gave, for machines like this one, so that a later start is one map.
 *
 * - header: magic, format, size, checksum of what follows but the blob, version of tern, counts, offsets
 * - parts: a record per CPU tier
 * - packs: a record per packed constant
 * - memory: for each part a record per memory plan, then their offsets; the rest of a plan follows from the order of
 *   the nodes in the graph and from the packed constants
 * - sums: a checksum for each 16 kB of the blob
 * - texts: names of constants
 * - graphs: ModelProto of the source, then of each part
 * - blob: elements of constants and packed forms, each aligned to 64; from a page boundary on. What the parts need
 *   comes first
 *
 * Numbers are the machine's own (little-endian, 64 bits). The elements of a constant that several graphs hold are there
 * once. Nothing is copied on reading: tensors and packs point into the map, which all processes share. Only what is
 * used is checked, when it is: a start with packed weights reads neither the source's nor those they were packed from.
 * Checksums find damage. They are no signatures: a file that was made to do harm could carry right ones, so a .tern
 * file is to be trusted like a program. */
#include <stdio.h>

#include "onnx/onnx_internal.h"
#include "tern/version.h"
#include "thread/thread.h"

#define MAGIC  "TERNCMP\n"
#define FORMAT 2
#define ALIGN  64
#define PAGE   4096
#define CHUNK  16384 /* with a checksum of its own */

enum { MAX_PARTS = 16, MAX_PACKS = 1 << 24 };

typedef struct header {
    char magic[8];
    uint64_t size, checksum; /* of the bytes between the checksum's own field and the blob */
    uint32_t format, n_parts;
    char version[16];
    uint64_t n_packs, packs, memory, memory_size, sums, texts, source, source_size,
        blob; /* offsets from the beginning of the file */
} header;
#define CHECKED_FROM offsetof(header, format)

typedef struct part_record {
    uint32_t tier, precision;
    uint64_t machine, graph, graph_size, first_pack, n_packs, memory, n_memory; /* memory: offset in that section */
} part_record;

typedef struct memory_record {
    uint64_t digest, count, offsets; /* offset in the section */
} memory_record;

typedef struct pack_record {
    uint64_t name, name_len;   /* in the texts */
    uint64_t key, bytes, data; /* offset in the blob */
} pack_record;

uint64_t tn_compiled_machine(void) {
    const tn_cpu_info *c = tn_cpu_get_info();
    const uint64_t facts[] = {c->l1d, c->l2, c->avx_vnni, c->avx512_vnni, c->avx512_bf16};
    return tn_hash(facts, sizeof facts, FORMAT);
}

bool tn_compiled_is(const void *data, size_t size) {
    return size >= sizeof MAGIC - 1 && memcmp(data, MAGIC, sizeof MAGIC - 1) == 0;
}

/* ---- checksums of the blob ------------------------------------------------------------------------------------- */

static size_t chunk_count(size_t blob) { return blob / CHUNK + (blob % CHUNK != 0); }

static uint64_t chunk_sum(tn_str blob, size_t index) {
    size_t begin = index * CHUNK;
    return tn_hash(blob.data + begin, TN_MIN((size_t)CHUNK, blob.len - begin), index);
}

enum { UNKNOWN, WANTED, GOOD };

enum { PER_TASK = 16 };

typedef struct checking {
    const struct tn_compiled *c;
    int64_t first, end; /* chunks */
    atomic_bool damaged;
} checking;

static void check_task(void *context, int64_t begin, int64_t end, int worker) {
    checking *k = context;
    const struct tn_compiled *c = k->c;
    (void)worker;
    for (int64_t i = k->first + begin * PER_TASK; i < TN_MIN(k->end, k->first + end * PER_TASK); i++) {
        uint64_t sum;
        if (atomic_load_explicit(&c->chunks[i], memory_order_relaxed) != WANTED) continue;
        memcpy(&sum, c->sums + (size_t)i * sizeof sum, sizeof sum);
        if (sum == chunk_sum(c->blob, (size_t)i))
            atomic_store_explicit(&c->chunks[i], GOOD, memory_order_relaxed);
        else
            atomic_store(&k->damaged, true);
    }
}

tern_status tn_compiled_check(const struct tn_compiled *c, const tn_range *ranges, size_t count, int threads,
                              tern_error *err) {
    size_t first = SIZE_MAX, last = 0;
    for (size_t i = 0; i < count; i++) {
        uintptr_t begin = (uintptr_t)ranges[i].data, blob = (uintptr_t)c->blob.data;
        if (!ranges[i].size || begin < blob || begin - blob >= c->blob.len) continue; /* in memory of its own */
        size_t at = begin - blob, from = at / CHUNK, to = (at + TN_MIN(ranges[i].size, c->blob.len - at) - 1) / CHUNK;
        for (size_t k = from; k <= to; k++) {
            unsigned char unknown = UNKNOWN;
            atomic_compare_exchange_strong(&c->chunks[k], &unknown, WANTED);
        }
        first = TN_MIN(first, from);
        last = TN_MAX(last, to);
    }
    if (first > last) return TERN_OK;
    checking k = {.c = c, .first = (int64_t)first, .end = (int64_t)last + 1};
    tn_parallel_for(threads, (k.end - k.first + PER_TASK - 1) / PER_TASK, check_task, &k);
    if (atomic_load(&k.damaged))
        return tn_fail(err, TERN_INVALID_FORMAT, "is damaged: its checksum does not fit; compile the model again");
    return TERN_OK;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

typedef struct bytes {
    uint8_t *data;
    size_t len, cap;
} bytes;

typedef struct builder {
    bytes blob, packs, memory, texts;
    tn_map stored; /* address and size of elements -> offset + 1 */
    tn_arena keys;
    tern_error *err;
} builder;

/* Room for n bytes at a multiple of `align`; NULL: no memory. What lies between is zero. */
static uint8_t *extend(builder *b, bytes *to, size_t n, size_t align) {
    size_t gap = (align - to->len % align) % align, need;
    if (!tn_add_size(to->len, gap, &need) || !tn_add_size(need, n, &need) ||
        !tn_grow(&to->data, &to->cap, need + 1, 1)) {
        tn_fail_oom(b->err, n);
        return NULL;
    }
    memset(to->data + to->len, 0, gap);
    to->len = need;
    return to->data + need - n;
}

static tern_status store(void *context, const tern_tensor *t, size_t *offset, tern_error *err) {
    builder *b = context;
    struct {
        const void *data;
        size_t size, dtype;
    } id = {t->data, tn_onnx_raw_bytes(t), t->dtype};
    char *key = tn_arena_strndup(&b->keys, (const char *)&id, sizeof id);
    size_t found = key ? (size_t)(uintptr_t)tn_map_get(&b->stored, (tn_str){key, sizeof id}) : 0;
    if (found) {
        *offset = found - 1;
        return TERN_OK;
    }
    uint8_t *to = key ? extend(b, &b->blob, id.size, ALIGN) : NULL;
    if (!to) return tn_fail_oom(err, id.size);
    tn_onnx_store_raw(t, to);
    *offset = (size_t)(to - b->blob.data);
    return tn_map_put(&b->stored, (tn_str){key, sizeof id}, (void *)(uintptr_t)(*offset + 1)) ? TERN_OK
                                                                                              : tn_fail_oom(err, 64);
}

static tern_status add_packs(builder *b, const tn_compiled_part *p) {
    for (size_t i = 0; i < p->n_packs; i++) {
        const tn_compiled_pack *k = &p->packs[i];
        pack_record r = {.name = b->texts.len, .name_len = strlen(k->value), .key = k->key, .bytes = k->bytes};
        uint8_t *text = extend(b, &b->texts, r.name_len, 1), *data = extend(b, &b->blob, k->bytes, ALIGN);
        uint8_t *record = extend(b, &b->packs, sizeof r, 1);
        if (!text || !data || !record) return TERN_OUT_OF_MEMORY;
        memcpy(text, k->value, r.name_len);
        if (k->bytes) memcpy(data, k->data, k->bytes);
        r.data = (uint64_t)(data - b->blob.data);
        memcpy(record, &r, sizeof r);
    }
    return TERN_OK;
}

static tern_status add_memory(builder *b, const tn_compiled_part *p) {
    size_t at = b->memory.len, offsets = at + p->n_memory * sizeof(memory_record);
    if (!extend(b, &b->memory, p->n_memory * sizeof(memory_record), 1)) return TERN_OUT_OF_MEMORY;
    for (size_t i = 0; i < p->n_memory; i++) {
        const tn_compiled_memory *m = &p->memory[i];
        memory_record r = {m->digest, m->count, offsets};
        uint8_t *to = extend(b, &b->memory, m->count * sizeof *m->offsets, 1);
        if (!to) return TERN_OUT_OF_MEMORY;
        if (m->count) memcpy(to, m->offsets, m->count * sizeof *m->offsets);
        memcpy(b->memory.data + at + i * sizeof r, &r, sizeof r);
        offsets += m->count * sizeof *m->offsets;
    }
    return TERN_OK;
}

typedef struct graphs {
    void *data[MAX_PARTS + 1]; /* source, then parts */
    size_t size[MAX_PARTS + 1];
} graphs;

static tern_status build(builder *b, graphs *g, const tern_model *source, const tn_compiled_part *parts, size_t n) {
    tn_onnx_store to = {store, b};
    for (size_t i = 0; i < n; i++) {
        TN_TRY(add_packs(b, &parts[i]));
        TN_TRY(add_memory(b, &parts[i]));
    }
    for (size_t i = 0; i < n; i++)
        TN_TRY(tn_onnx_write_internal(parts[i].model, &to, true, &g->data[i + 1], &g->size[i + 1], b->err));
    return tn_onnx_write_internal(source, &to, false, &g->data[0], &g->size[0], b->err);
}

void tn_compiled_seal(uint8_t *file, size_t size) {
    header h;
    if (size < sizeof h) return;
    memcpy(&h, file, sizeof h);
    if (h.blob < sizeof h || h.blob > size) return;
    tn_str blob = {(const char *)file + h.blob, size - h.blob};
    size_t n_sums = chunk_count(blob.len);
    for (size_t i = 0; i < n_sums && h.sums >= sizeof h && h.sums <= h.blob && n_sums <= (h.blob - h.sums) / 8; i++) {
        uint64_t sum = chunk_sum(blob, i);
        memcpy(file + h.sums + i * sizeof sum, &sum, sizeof sum);
    }
    for (size_t i = 0; i < h.n_parts && i < (h.blob - sizeof h) / sizeof(part_record); i++) {
        uint64_t machine = tn_compiled_machine();
        memcpy(file + sizeof h + i * sizeof(part_record) + offsetof(part_record, machine), &machine, sizeof machine);
    }
    memset(h.version, 0, sizeof h.version);
    snprintf(h.version, sizeof h.version, "%s", TERN_VERSION);
    h.size = size;
    memcpy(file, &h, sizeof h);
    h.checksum = tn_hash(file + CHECKED_FROM, h.blob - CHECKED_FROM, FORMAT);
    memcpy(file, &h, sizeof h);
}

/* Offsets of all sections, one behind the other; the whole file in one piece, for the checksum. */
static tern_status assemble(builder *b, const graphs *g, const tn_compiled_part *parts, size_t n, const char *path) {
    header h = {.format = FORMAT, .n_parts = (uint32_t)n, .n_packs = b->packs.len / sizeof(pack_record)};
    part_record records[MAX_PARTS] = {{0}};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    h.packs = sizeof h + n * sizeof *records;
    h.memory = h.packs + b->packs.len;
    h.memory_size = b->memory.len;
    h.sums = h.memory + b->memory.len;
    size_t n_sums = chunk_count(b->blob.len);
    h.texts = h.sums + n_sums * sizeof(uint64_t);
    size_t at = h.texts + b->texts.len;
    h.source = at;
    h.source_size = g->size[0];
    at += g->size[0];
    uint64_t first = 0, memory = 0;
    for (size_t i = 0; i < n; i++) {
        records[i] = (part_record){(uint32_t)parts[i].tier, (uint32_t)parts[i].precision,
                                   parts[i].machine,        at,
                                   g->size[i + 1],          first,
                                   parts[i].n_packs,        memory,
                                   parts[i].n_memory};
        for (size_t k = 0; k < parts[i].n_memory; k++) memory += parts[i].memory[k].count * sizeof(uint64_t);
        memory += parts[i].n_memory * sizeof(memory_record);
        first += parts[i].n_packs;
        at += g->size[i + 1];
    }
    h.blob = (at + PAGE - 1) / PAGE * PAGE;
    h.size = h.blob + b->blob.len;
    uint8_t *file = tn_calloc(1, h.size);
    if (!file) return tn_fail_oom(b->err, h.size);
    memcpy(file + sizeof h, records, n * sizeof *records);
    if (b->packs.len) memcpy(file + h.packs, b->packs.data, b->packs.len);
    if (b->memory.len) memcpy(file + h.memory, b->memory.data, b->memory.len);
    if (b->texts.len) memcpy(file + h.texts, b->texts.data, b->texts.len);
    memcpy(file + h.source, g->data[0], g->size[0]);
    for (size_t i = 0; i < n; i++) memcpy(file + records[i].graph, g->data[i + 1], g->size[i + 1]);
    if (b->blob.len) memcpy(file + h.blob, b->blob.data, b->blob.len);
    memcpy(file, &h, sizeof h);
    tn_compiled_seal(file, h.size);
    tern_status status = tn_file_write(path, file, h.size, b->err);
    tn_free(file);
    return status;
}

tern_status tn_compiled_write(const char *path, const tern_model *source, const tn_compiled_part *parts, size_t n_parts,
                              tern_error *err) {
    if (n_parts > MAX_PARTS) return tn_fail(err, TERN_LIMIT_EXCEEDED, "%zu CPU tiers are too many", n_parts);
    builder b = {.err = err};
    graphs g = {{NULL}, {0}};
    tn_arena_init(&b.keys, 0);
    tern_status status = build(&b, &g, source, parts, n_parts);
    if (status == TERN_OK) status = assemble(&b, &g, parts, n_parts, path);
    for (size_t i = 0; i < TN_COUNT(g.data); i++) tn_free(g.data[i]);
    tn_free(b.blob.data);
    tn_free(b.packs.data);
    tn_free(b.memory.data);
    tn_free(b.texts.data);
    tn_map_release(&b.stored);
    tn_arena_release(&b.keys);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

static bool within(const header *h, uint64_t offset, uint64_t count, uint64_t size) {
    uint64_t bytes;
    return !__builtin_mul_overflow(count, size, &bytes) && offset <= h->size && bytes <= h->size - offset;
}

static tern_status check_header(const header *h, tn_str f, tern_error *err) {
    if (h->format != FORMAT || strncmp(h->version, TERN_VERSION, sizeof h->version) != 0)
        return tn_fail(err, TERN_INVALID_FORMAT,
                       "was compiled by tern %.16s (format %u), and this is %s (format %d): compile the model again",
                       h->format ? h->version : "?", h->format, TERN_VERSION, FORMAT);
    if (h->size != f.len)
        return tn_fail(err, TERN_INVALID_FORMAT, "has %zu bytes of %llu: it was cut or has grown", f.len,
                       (unsigned long long)h->size);
    if (h->blob < sizeof *h || h->blob > h->size ||
        h->checksum != tn_hash(f.data + CHECKED_FROM, h->blob - CHECKED_FROM, FORMAT))
        return tn_fail(err, TERN_INVALID_FORMAT, "is damaged: its checksum does not fit; compile the model again");
    if (h->n_parts > MAX_PARTS || h->n_packs > MAX_PACKS || !within(h, sizeof *h, h->n_parts, sizeof(part_record)) ||
        !within(h, h->packs, h->n_packs, sizeof(pack_record)) || !within(h, h->source, h->source_size, 1) ||
        !within(h, h->memory, h->memory_size, 1) ||
        !within(h, h->sums, chunk_count(h->size - h->blob), sizeof(uint64_t)) || h->texts > h->size)
        return tn_fail(err, TERN_INVALID_FORMAT, "has a section that lies outside of it");
    return TERN_OK;
}

/* `left`: bytes that records may still name. Together they name no more than the file has, so that a small file with
 * records that lie on each other can not make many copies of its bytes. */
typedef struct reader {
    tern_model *m;
    const char *file;
    const header *h;
    uint64_t left;
    tern_error *err;
} reader;

static bool spend(reader *f, uint64_t bytes) {
    if (bytes > f->left) return false;
    f->left -= bytes;
    return true;
}

static tern_status read_pack(reader *f, uint64_t index, tn_compiled_pack *out) {
    const header *h = f->h;
    pack_record r;
    memcpy(&r, f->file + h->packs + index * sizeof r, sizeof r);
    uint64_t text, data;
    if (__builtin_add_overflow(h->texts, r.name, &text) || __builtin_add_overflow(h->blob, r.data, &data) ||
        !within(h, text, r.name_len, 1) || !within(h, data, r.bytes, 1) || data % ALIGN || !spend(f, r.name_len))
        return tn_fail(f->err, TERN_INVALID_FORMAT, "has a packed constant that lies outside of it");
    char *name = tn_arena_strndup(&f->m->arena, f->file + text, r.name_len);
    if (!name) return tn_fail_oom(f->err, r.name_len);
    *out = (tn_compiled_pack){name, r.key, r.bytes, f->file + data};
    return TERN_OK;
}

/* Plans that live together are kept apart when one is taken (tn_plan_take_offsets). */
static tern_status read_memory(reader *f, const part_record *part, tn_compiled_part *out) {
    const char *section = f->file + f->h->memory;
    uint64_t bytes, size = f->h->memory_size;
    bool ok = !__builtin_mul_overflow(part->n_memory, sizeof(memory_record), &bytes) && part->memory <= size &&
              bytes <= size - part->memory && spend(f, bytes);
    tn_compiled_memory *list = ok ? tn_arena_array(&f->m->arena, part->n_memory + 1, sizeof *list) : NULL;
    for (uint64_t i = 0; list && i < part->n_memory; i++) {
        memory_record r;
        memcpy(&r, section + part->memory + i * sizeof r, sizeof r);
        ok = !__builtin_mul_overflow(r.count, sizeof(uint64_t), &bytes) && r.offsets <= size &&
             bytes <= size - r.offsets && spend(f, bytes);
        uint64_t *offsets = ok ? tn_arena_array(&f->m->arena, r.count + 1, sizeof *offsets) : NULL;
        if (!offsets) break;
        memcpy(offsets, section + r.offsets, r.count * sizeof *offsets);
        list[i] = (tn_compiled_memory){r.digest, r.count, offsets};
        out->n_memory = i + 1;
    }
    if (!ok) return tn_fail(f->err, TERN_INVALID_FORMAT, "has a memory plan that lies outside of it");
    out->memory = list;
    return list && out->n_memory == part->n_memory ? TERN_OK : tn_fail_oom(f->err, part->n_memory * sizeof *list);
}

static tern_status read_part(reader *f, size_t index, tn_compiled_part *out) {
    const header *h = f->h;
    part_record r;
    memcpy(&r, f->file + sizeof *h + index * sizeof r, sizeof r);
    if (!within(h, r.graph, r.graph_size, 1) || r.first_pack > h->n_packs || r.n_packs > h->n_packs - r.first_pack ||
        !spend(f, r.n_packs * sizeof(pack_record)))
        return tn_fail(f->err, TERN_INVALID_FORMAT, "has a part that lies outside of it");
    tn_compiled_pack *packs = tn_arena_array(&f->m->arena, r.n_packs + 1, sizeof *packs);
    if (!packs) return tn_fail_oom(f->err, r.n_packs * sizeof *packs);
    for (uint64_t i = 0; i < r.n_packs; i++) TN_TRY(read_pack(f, r.first_pack + i, &packs[i]));
    *out = (tn_compiled_part){.tier = (tern_cpu_tier)r.tier,
                              .precision = (tern_precision)r.precision,
                              .machine = r.machine,
                              .graph = {f->file + r.graph, r.graph_size},
                              .packs = packs,
                              .n_packs = r.n_packs};
    return read_memory(f, &r, out);
}

static tern_status check_bytes(const struct tn_compiled *c, const void *data, size_t size, tern_error *err) {
    return tn_compiled_check(c, &(tn_range){data, size}, 1, 1, err);
}

tern_status tn_compiled_load(tern_model *m, tn_str file, tern_error *err) {
    header h;
    if (file.len < sizeof h) return tn_fail(err, TERN_INVALID_FORMAT, "has %zu bytes: it was cut", file.len);
    memcpy(&h, file.data, sizeof h);
    TN_TRY(check_header(&h, file, err));
    if ((uintptr_t)file.data % ALIGN)
        return tn_fail(err, TERN_INVALID_ARGUMENT, "a compiled model in memory must begin at a multiple of %d", ALIGN);
    struct tn_compiled *c = tn_arena_alloc(&m->arena, sizeof *c);
    tn_compiled_part *parts = tn_arena_array(&m->arena, (size_t)h.n_parts + 1, sizeof *parts);
    atomic_uchar *chunks = tn_arena_array(&m->arena, chunk_count(file.len - h.blob) + 1, sizeof *chunks);
    if (!c || !parts || !chunks) return tn_fail_oom(err, sizeof *c);
    reader f = {m, file.data, &h, file.len, err};
    for (uint32_t i = 0; i < h.n_parts; i++) TN_TRY(read_part(&f, i, &parts[i]));
    *c = (struct tn_compiled){.blob = {file.data + h.blob, file.len - h.blob},
                              .sums = (const uint8_t *)file.data + h.sums,
                              .chunks = chunks,
                              .parts = parts,
                              .n_parts = h.n_parts};
    m->compiled = c;
    m->check = check_bytes;
    return tn_onnx_load_parts(m, (tn_str){file.data + h.source, h.source_size}, c, err);
}

/* ---- notes ----------------------------------------------------------------------------------------------------- */

static void drop_attr(tn_node *n, const tn_attr *a) {
    size_t at = (size_t)(a - n->attrs);
    memmove(&n->attrs[at], &n->attrs[at + 1], ((size_t)n->n_attrs - at - 1) * sizeof *n->attrs);
    n->n_attrs--;
}

static tn_value **longer(tern_model *m, tn_value **list, int have, int64_t want) {
    tn_value **more = tn_arena_array(&m->arena, (size_t)want + 1, sizeof *more);
    for (int i = 0; more && i < have; i++) more[i] = list[i];
    return more;
}

static tern_status read_note(tern_model *m, tn_node *n, tern_error *err) {
    size_t count, n_texts;
    const int64_t *note = tn_attr_ints(n, TN_ONNX_NOTE, &count);
    const tn_str *texts = tn_attr_strings(n, TN_ONNX_FUSED, &n_texts);
    if (count < 3 || note[0] < 1 || note[0] > INT32_MAX || note[1] < n->n_in || note[2] < n->n_out ||
        note[1] > 1 << 20 || note[2] != (int64_t)count - 3 || n_texts != count - 2)
        return tn_fail(err, TERN_INVALID_FORMAT, "a node lacks what tern notes of it");
    n->opset = (int)note[0];
    n->in = longer(m, n->in, n->n_in, note[1]);
    n->out = longer(m, n->out, n->n_out, note[2]);
    if (!n->in || !n->out) return tn_fail_oom(err, (size_t)note[1] * sizeof(void *));
    n->n_in = (int)note[1];
    n->n_out = (int)note[2];
    for (int i = 0; i < n->n_out; i++) {
        if (!n->out[i]) continue;
        int64_t block = note[3 + i];
        const tn_type *t = &n->out[i]->type;
        bool map = t->kind == TERN_KIND_TENSOR && t->ranked && t->shape.rank >= 3;
        if (block < 0 || block > 256 || (block && !map))
            return tn_fail(err, TERN_INVALID_FORMAT, "a value has a block of %lld", (long long)block);
        n->out[i]->block = (int)block;
        if (texts[1 + i].len &&
            !(n->out[i]->blocked_of = tn_arena_strndup(&m->arena, texts[1 + i].data, texts[1 + i].len)))
            return tn_fail_oom(err, texts[1 + i].len);
    }
    if (texts[0].len && !(n->fused = tn_arena_strndup(&m->arena, texts[0].data, texts[0].len)))
        return tn_fail_oom(err, texts[0].len);
    drop_attr(n, tn_attr_find(n, TN_ONNX_NOTE));
    drop_attr(n, tn_attr_find(n, TN_ONNX_FUSED));
    return TERN_OK;
}

tern_status tn_onnx_read_notes(tern_model *m, tern_error *err) {
    for (tn_graph *g = m->all_graphs; g; g = g->next)
        for (int i = 0; i < g->n_nodes; i++) TN_TRY(read_note(m, g->nodes[i], err));
    return TERN_OK;
}

tern_status tn_compiled_open(tern_model **out, const tern_model *source, const tn_compiled_part *part,
                             tern_error *err) {
    tern_model *m = tn_model_new();
    *out = NULL;
    if (!m) return tn_fail_oom(err, sizeof *m);
    m->limits = source->limits;
    tern_status status = tn_onnx_load_parts(m, part->graph, source->compiled, err);
    if (status == TERN_OK) status = tn_onnx_read_notes(m, err);
    if (status != TERN_OK) {
        tn_model_free(m);
        return status;
    }
    *out = m;
    return TERN_OK;
}
