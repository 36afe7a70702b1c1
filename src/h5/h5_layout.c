/* The structure of an HDF5 file, made by libhdf5 over a driver that keeps what is written in
 * memory. h5_write.c then writes it around the data. Space for the datasets is allocated but never
 * written there. The same tree gives the same bytes every time: no times are stored. */
#include <hdf5.h>
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif
#include <string.h>

#include "base/mem.h"
#include "h5/h5.h"

/* ---- the driver ---- */

typedef struct mem_file {
    H5FD_t pub; /* libhdf5's part comes first */
    sol_h5_image *image;
    haddr_t end;
} mem_file;

static H5FD_t *mem_open(const char *name, unsigned flags, hid_t fapl, haddr_t max_address)
{
    (void)name, (void)flags, (void)max_address;
    sol_h5_image *const *image = H5Pget_driver_info(fapl);
    mem_file *f = NULL;
    if (!image) return NULL;
    if (sol_alloc_array((void **)&f, 1, sizeof *f, NULL) != SOL_OK) {
        (*image)->failed = true;
        return NULL;
    }
    f->image = *image;
    return &f->pub;
}

static herr_t mem_close(H5FD_t *file)
{
    mem_file *f = (mem_file *)file;
    f->image->end = f->end;
    sol_free(f);
    return 0;
}

static herr_t mem_query(const H5FD_t *file, unsigned long *flags)
{
    (void)file;
    *flags = 0; /* no aggregation: every object gets its own place */
    return 0;
}

static haddr_t mem_get_end(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const mem_file *)file)->end;
}

static herr_t mem_set_end(H5FD_t *file, H5FD_mem_t type, haddr_t end)
{
    (void)type;
    ((mem_file *)file)->end = end;
    return 0;
}

static herr_t mem_read(H5FD_t *file, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size,
                       void *buffer)
{
    (void)type, (void)dxpl;
    const sol_h5_image *m = ((mem_file *)file)->image;
    memset(buffer, 0, size);
    for (size_t i = 0; i < m->n_pieces; i++) {
        const sol_h5_piece *p = &m->piece[i];
        uint64_t from = p->address > address ? p->address : address;
        uint64_t to = p->address + p->size < address + size ? p->address + p->size : address + size;
        if (from < to)
            memcpy((uint8_t *)buffer + (from - address), m->bytes + p->at + (from - p->address),
                   (size_t)(to - from));
    }
    return 0;
}

/* Never fails towards libhdf5, whose ways out of a failed close are not clean; `failed` tells our
 * caller. */
static herr_t mem_write(H5FD_t *file, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size,
                        const void *buffer)
{
    (void)type, (void)dxpl;
    sol_h5_image *m = ((mem_file *)file)->image;
    sol_status st =
        sol_grow_array((void **)&m->bytes, &m->byte_capacity, m->n_bytes + size, 1, NULL);
    if (st == SOL_OK)
        st = sol_grow_array((void **)&m->piece, &m->piece_capacity, m->n_pieces + 1,
                            sizeof *m->piece, NULL);
    if (st != SOL_OK) {
        m->failed = true;
        return 0;
    }
    memcpy(m->bytes + m->n_bytes, buffer, size);
    m->piece[m->n_pieces++] = (sol_h5_piece){address, size, m->n_bytes};
    m->n_bytes += size;
    return 0;
}

static const H5FD_class_t mem_class = {
#ifdef H5FD_CLASS_VERSION
    .version = H5FD_CLASS_VERSION,
    .value = (H5FD_class_value_t)513,
#endif
    .name = "solera memory",
    .maxaddr = (haddr_t)INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(sol_h5_image *),
    .open = mem_open,
    .close = mem_close,
    .query = mem_query,
    .get_eoa = mem_get_end,
    .set_eoa = mem_set_end,
    .get_eof = mem_get_end,
    .read = mem_read,
    .write = mem_write,
    .fl_map = H5FD_FLMAP_SINGLE,
};

void sol_h5_image_free(sol_h5_image *m)
{
    sol_free(m->piece);
    sol_free(m->bytes);
    *m = (sol_h5_image){0};
}

/* ---- the structure ---- */

/* A new type id, closed by the caller; < 0 on failure. */
static hid_t file_type(sol_h5_type t, size_t size)
{
    hid_t id;
    switch (t) {
    case SOL_H5_U8: return H5Tcopy(H5T_STD_U8LE);
    case SOL_H5_I8: return H5Tcopy(H5T_STD_I8LE);
    case SOL_H5_U16: return H5Tcopy(H5T_STD_U16LE);
    case SOL_H5_I16: return H5Tcopy(H5T_STD_I16LE);
    case SOL_H5_U32: return H5Tcopy(H5T_STD_U32LE);
    case SOL_H5_I32: return H5Tcopy(H5T_STD_I32LE);
    case SOL_H5_U64: return H5Tcopy(H5T_STD_U64LE);
    case SOL_H5_I64: return H5Tcopy(H5T_STD_I64LE);
    case SOL_H5_F32: return H5Tcopy(H5T_IEEE_F32LE);
    case SOL_H5_F64: return H5Tcopy(H5T_IEEE_F64LE);
    case SOL_H5_F16: /* sign 1, exponent 5, mantissa 10 */
        id = H5Tcopy(H5T_IEEE_F32LE);
        if (H5Tset_fields(id, 15, 10, 5, 0, 10) < 0 || H5Tset_size(id, 2) < 0 ||
            H5Tset_ebias(id, 15) < 0) {
            H5Tclose(id);
            return -1;
        }
        return id;
    case SOL_H5_STRING:
        id = H5Tcopy(H5T_C_S1);
        if (H5Tset_size(id, size ? size : 1) < 0 || H5Tset_strpad(id, H5T_STR_NULLPAD) < 0 ||
            H5Tset_cset(id, H5T_CSET_UTF8) < 0) {
            H5Tclose(id);
            return -1;
        }
        return id;
    default: return -1;
    }
}

static bool write_attr(hid_t object, const char *name, sol_h5_type type, const void *value,
                       size_t size)
{
    hid_t t = file_type(type, size), space = H5Screate(H5S_SCALAR);
    hid_t a =
        t < 0 || space < 0 ? -1 : H5Acreate2(object, name, t, space, H5P_DEFAULT, H5P_DEFAULT);
    bool ok = a >= 0 && H5Awrite(a, t, value) >= 0;
    if (a >= 0) ok = H5Aclose(a) >= 0 && ok;
    if (space >= 0) H5Sclose(space);
    if (t >= 0) H5Tclose(t);
    return ok;
}

static bool write_attrs(hid_t object, const sol_h5_node *n)
{
    for (size_t i = 0; i < n->n_attrs; i++) {
        const sol_h5_attr *a = &n->attr[i];
        if (!write_attr(object, a->name, a->type, a->value, a->size)) return false;
    }
    return !n->has_crc || write_attr(object, "crc32c", SOL_H5_U32, &n->crc, sizeof n->crc);
}

static hid_t make_dataset(hid_t file, sol_h5_node *n)
{
    hsize_t dims[SOL_H5_MAX_DIMS];
    for (int i = 0; i < n->n_dims; i++) dims[i] = n->dim[i];
    hid_t t = file_type(n->type, 0), space = H5Screate_simple(n->n_dims, dims, NULL),
          how = H5Pcreate(H5P_DATASET_CREATE), d = -1;
    if (t >= 0 && space >= 0 && how >= 0 && H5Pset_layout(how, H5D_CONTIGUOUS) >= 0 &&
        H5Pset_alloc_time(how, H5D_ALLOC_TIME_EARLY) >= 0 &&
        H5Pset_fill_time(how, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_obj_track_times(how, 0) >= 0)
        d = H5Dcreate2(file, n->path, t, space, H5P_DEFAULT, how, H5P_DEFAULT);
    if (d >= 0) {
        haddr_t address = n->bytes ? H5Dget_offset(d) : 0;
        n->offset = address;
        if (address == HADDR_UNDEF) {
            H5Dclose(d);
            d = -1;
        }
    }
    if (how >= 0) H5Pclose(how);
    if (space >= 0) H5Sclose(space);
    if (t >= 0) H5Tclose(t);
    return d;
}

static bool make_node(hid_t file, sol_h5_node *n)
{
    hid_t id;
    if (strcmp(n->path, "/") == 0)
        id = H5Gopen2(file, "/", H5P_DEFAULT);
    else if (n->is_dataset)
        id = make_dataset(file, n);
    else
        id = H5Gcreate2(file, n->path, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (id < 0) return false;
    bool ok = write_attrs(id, n);
    return H5Oclose(id) >= 0 && ok;
}

/* Access list: our driver; everything at a multiple of 64 bytes, so that a map of the file is
 * aligned; no aggregation, so that the place of an object depends on those made before it alone. */
static hid_t access_list(hid_t driver, sol_h5_image *image)
{
    hid_t fapl = H5Pcreate(H5P_FILE_ACCESS);
    if (fapl >= 0 && H5Pset_driver(fapl, driver, &image) >= 0 &&
        H5Pset_alignment(fapl, 1, 64) >= 0 && H5Pset_meta_block_size(fapl, 0) >= 0 &&
        H5Pset_small_data_block_size(fapl, 0) >= 0 &&
        H5Pset_libver_bounds(fapl, H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST) >= 0)
        return fapl;
    if (fapl >= 0) H5Pclose(fapl);
    return -1;
}

/* *at: behind the last node that was begun. */
static bool make_nodes(hid_t file, sol_h5_tree *t, size_t *at)
{
    for (*at = 0; *at < t->n;)
        if (!make_node(file, &t->node[(*at)++])) return false;
    return true;
}

static bool make_file(hid_t driver, sol_h5_tree *t, sol_h5_image *image, size_t *at)
{
    hid_t fapl = access_list(driver, image), fcpl = H5Pcreate(H5P_FILE_CREATE), file = -1;
    /* Small B-tree nodes: most groups hold three objects. */
    if (fapl >= 0 && fcpl >= 0 && H5Pset_sym_k(fcpl, 4, 4) >= 0)
        file = H5Fcreate("solera", H5F_ACC_TRUNC, fcpl, fapl);
    if (fapl >= 0) H5Pclose(fapl);
    if (fcpl >= 0) H5Pclose(fcpl);
    if (file < 0) return false;
    bool ok = make_nodes(file, t, at);
    return H5Fclose(file) >= 0 && ok;
}

/* H5Fcreate of HDF5 1.10 crashes where it gets no memory; it asks for less than this. */
static sol_status check_memory(sol_err *err)
{
    char *block = NULL;
    size_t capacity = 0;
    SOL_TRY(sol_grow_bytes(&block, &capacity, 4 << 20, err));
    sol_free(block);
    return SOL_OK;
}

/* Called for each entry of the error stack: takes the innermost one, which says why. */
static herr_t deepest(unsigned n, const H5E_error2_t *e, void *text)
{
    if (n == 0 && e->desc) *(const char **)text = e->desc;
    return 0;
}

sol_status sol_h5_layout(sol_h5_tree *t, sol_h5_image *image, const char *path, sol_err *err)
{
    H5E_auto2_t print;
    void *print_arg;
    size_t at = 0;
    sol_h5_image_free(image);
    SOL_TRY(check_memory(err));
    if (H5open() < 0) return sol_fail(err, SOL_ERR_LIBRARY, "%s: libhdf5 does not start", path);
    H5Eget_auto2(H5E_DEFAULT, &print, &print_arg);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t driver = H5FDregister(&mem_class);
    bool ok = driver >= 0 && make_file(driver, t, image, &at);
    sol_status st = SOL_OK;
    if (image->failed) {
        st = sol_fail(err, SOL_ERR_NOMEM, "%s: out of memory while the file is laid out", path);
    } else if (!ok) {
        const char *why = "no reason given";
        H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, deepest, &why);
        st = sol_fail(err, SOL_ERR_LIBRARY, "%s: libhdf5 cannot make %s: %s", path,
                      at > 0 && at <= t->n ? t->node[at - 1].path : "the file", why);
    }
    if (driver >= 0) H5FDunregister(driver);
    H5Eset_auto2(H5E_DEFAULT, print, print_arg);
    return st;
}
