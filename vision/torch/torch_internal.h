/* Parts of the checkpoint reader: zip.c (members), pickle.c (the machine), call.c and numpy.c (the few functions that
 * are interpreted), names.c (allow-list), graph.c (cycles, depth), torch_zip.c, legacy.c, safetensors.c, npz.c (the
 * containers), read.c (tensors to memory), value.c (looking at values). */
#ifndef TERN_VISION_TORCH_INTERNAL_H
#define TERN_VISION_TORCH_INTERNAL_H

#include "vision/torch/torch.h"

/* ---- zip ------------------------------------------------------------------------------------------------------- */

typedef struct tn_zip_entry {
    tn_str name;                   /* in the file; no NUL inside */
    uint64_t packed, size, header; /* header: offset of the local one */
    uint32_t crc;
    uint16_t flags, method;
} tn_zip_entry;

typedef struct tn_zip {
    const uint8_t *data;
    size_t size, directory; /* directory: offset of the central directory */
    tn_zip_entry *entries;
    size_t count;
    tn_map map; /* name -> entry */
} tn_zip;

/* On failure *zip is empty. Members with equal names are refused. */
tern_status tn_zip_open(tn_zip *zip, const void *data, size_t size, tern_error *err);
void tn_zip_release(tn_zip *zip);
const tn_zip_entry *tn_zip_find(const tn_zip *zip, tn_str name);
/* Where the packed bytes are; refuses what lies outside the file, encrypted members, unknown methods. */
tern_status tn_zip_locate(const tn_zip *zip, const tn_zip_entry *entry, const uint8_t **packed, tern_error *err);
/* All bytes: into the file for stored members (*owned NULL), else inflated (*owned, freed by tn_free). A member larger
 * than `limit` is refused before it is inflated. */
tern_status tn_zip_read(const tn_zip *zip, const tn_zip_entry *entry, uint64_t limit, const uint8_t **bytes,
                        uint8_t **owned, tern_error *err);
bool tn_zip_crc_ok(const tn_zip_entry *entry, const uint8_t *bytes);

/* ---- the checkpoint -------------------------------------------------------------------------------------------- */

struct tern_storage {
    tern_storage *next; /* all of a checkpoint */
    tern_storage *base; /* a view of another (old formats): base_offset in elements; NULL: none */
    int64_t base_offset;
    tern_dtype dtype; /* UINT8 for untyped ones */
    bool untyped, big_endian;
    int64_t numel; /* of dtype */
    size_t bytes;
    const uint8_t *data; /* NULL: not known yet, or in `entry` */
    const tn_zip_entry *entry;
    uint8_t *owned;      /* inflated */
    tern_tensor *tensor; /* owner of data (.npz) */
    const char *key;     /* terminated */
};

struct tern_ckpt {
    tern_ckpt_options options; /* no zeros */
    tern_ckpt_format format;
    tn_file file; /* mapped; data NULL: bytes of the caller */
    tn_arena arena;
    tn_zip zip;
    const tn_zip_entry *pickle_member; /* data.pkl */
    uint8_t *pickle;                   /* it inflated; values refer to it */
    tern_storage *storages;
    tn_map storage_map; /* key -> storage */
    tn_map tensor_map;  /* TAR: key -> tensor value */
    tern_py *root, *metadata;
    tern_py *none, *truth[2], *empty_tuple;
    size_t values, inflated;
    bool big_endian; /* storages of torch */
    const char **warnings;
    size_t n_warnings, warnings_cap;
    tern_ckpt_name *names;
    size_t n_names, names_cap;
    tn_map name_map; /* "module\nname" -> index + 1 */
};

/* Containers. `data` outlives the checkpoint. */
tern_status tn_ckpt_open_torch_zip(tern_ckpt *ckpt, tern_error *err);
tern_status tn_ckpt_open_npz(tern_ckpt *ckpt, tern_error *err);
tern_status tn_ckpt_open_legacy(tern_ckpt *ckpt, const uint8_t *data, size_t size, tern_error *err);
tern_status tn_ckpt_open_tar(tern_ckpt *ckpt, const uint8_t *data, size_t size, tern_error *err);
tern_status tn_ckpt_open_safetensors(tern_ckpt *ckpt, const uint8_t *data, size_t size, tern_error *err);

/* Keeps the text, once; further ones than 100 are only counted in a last line. */
tern_status tn_ckpt_warn(tern_ckpt *ckpt, tern_error *err, const char *format, ...) TN_PRINTF(3, 4);

/* ---- making values --------------------------------------------------------------------------------------------- */

tern_status tn_py_new(tern_ckpt *ckpt, tern_py_kind kind, tern_py **out, tern_error *err);
tern_status tn_py_int(tern_ckpt *ckpt, int64_t value, tern_py **out, tern_error *err);
tern_status tn_py_real(tern_ckpt *ckpt, double value, tern_py **out, tern_error *err);
/* Copies; kind STR, BYTES or BIGINT. */
tern_status tn_py_text(tern_ckpt *ckpt, tern_py_kind kind, const void *data, size_t len, tern_py **out,
                       tern_error *err);
/* LIST, TUPLE or SET of a copy of items. */
tern_status tn_py_seq(tern_ckpt *ckpt, tern_py_kind kind, tern_py *const *items, size_t count, tern_py **out,
                      tern_error *err);
tern_status tn_py_object(tern_ckpt *ckpt, const char *module, const char *name, tern_py *args, bool called,
                         tern_py **out, tern_error *err);
tern_status tn_py_append(tern_ckpt *ckpt, tern_py *seq, tern_py *const *items, size_t count, tern_error *err);
/* items: key, value, key, value ... */
tern_status tn_py_set_items(tern_ckpt *ckpt, tern_py *dict, tern_py *const *items, size_t count, tern_error *err);

/* A storage in the list of the checkpoint; with a key also in the map. */
tern_status tn_storage_new(tern_ckpt *ckpt, const char *key, tern_dtype dtype, int64_t numel, tern_storage **out,
                           tern_error *err);
/* Checks dims, strides and offset against the storage. strides NULL: row-major. */
tern_status tn_tensor_value(tern_ckpt *ckpt, tern_storage *storage, tern_dtype dtype, int rank, const int64_t *dims,
                            const int64_t *strides, int64_t offset, tern_py **out, tern_error *err);

/* ---- names ----------------------------------------------------------------------------------------------------- */

/* Notes the use of a name; an error when it is dangerous, a warning when it is unknown. */
tern_status tn_name_note(tern_ckpt *ckpt, const char *module, const char *name, tern_error *err);
/* "torch.HalfStorage" -> float16; UNDEFINED: no storage class. *untyped: torch.storage.UntypedStorage. */
tern_dtype tn_name_storage_dtype(const tern_py *global, bool *untyped);
/* "torch.float16" -> float16. */
tern_dtype tn_name_dtype(const tern_py *global);

/* ---- the pickle machine ---------------------------------------------------------------------------------------- */

/* What BINPERSID stands for. */
typedef tern_status (*tn_persistent)(tern_ckpt *ckpt, tern_py *id, tern_py **out, tern_error *err);

/* Runs one pickle, to which values refer afterwards; *used: bytes up to and including STOP. `persistent` NULL: such
 * references are refused. */
tern_status tn_pickle_load(tern_ckpt *ckpt, const uint8_t *data, size_t size, tn_persistent persistent, tern_py **out,
                           size_t *used, tern_error *err);
/* REDUCE. */
tern_status tn_pickle_call(tern_ckpt *ckpt, tern_py *function, tern_py *args, tern_py **out, tern_error *err);
/* BUILD; changes `object` in place. */
tern_status tn_pickle_build(tern_ckpt *ckpt, tern_py *object, tern_py *state, tern_error *err);

bool tn_numpy_is_array(const tern_py *v); /* as made by _reconstruct, not built yet */
tern_status tn_numpy_build(tern_ckpt *ckpt, tern_py *array, tern_py *state, tern_error *err);
tern_status tn_numpy_scalar(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err);
tern_status tn_numpy_from_buffer(tern_ckpt *ckpt, tern_py *args, tern_py **out, tern_error *err);

/* Refuses cycles, too deep and too large graphs; makes keys of dicts unique (the last value, the first place). */
tern_status tn_ckpt_check_graph(tern_ckpt *ckpt, tern_py *root, tern_error *err);

/* Bytes of a storage; inflates it when needed. */
tern_status tn_storage_bytes(tern_ckpt *ckpt, tern_storage *storage, const uint8_t **bytes, tern_error *err);
/* The storage that ('storage', class, key, location, numel ...) names, made when it is new. */
tern_status tn_storage_of_id(tern_ckpt *ckpt, const tern_py *id, tern_storage **out, bool *created, tern_error *err);

#endif
