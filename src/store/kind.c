#include <string.h>

#include "store/parts.h"
#include "store/store.h"

sol_status sol_store_kind(const char *path, sol_file_kind *kind, sol_err *err)
{
    sol_h5_file f;
    const char *format;
    sol_status st = sol_h5_open(&f, path, err);
    if (st != SOL_OK) return st;
    st = sol_h5_get_text(&f, &f.tree.node[0], "format", &format, err);
    if (st != SOL_OK)
        ;
    else if (strcmp(format, SOL_FORMAT_CHECKPOINT) == 0)
        *kind = sol_h5_find(&f, "/state") ? SOL_FILE_CHECKPOINT : SOL_FILE_MODEL;
    else if (strcmp(format, SOL_FORMAT_PACKED) == 0)
        *kind = SOL_FILE_PACKED;
    else if (strcmp(format, SOL_FORMAT_DATASET) == 0)
        *kind = SOL_FILE_DATASET;
    else
        st = sol_fail(err, SOL_ERR_FORMAT, "%s: is a %.40s, not a file of solera", path, format);
    sol_h5_close(&f);
    return st;
}
