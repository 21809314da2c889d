/* The loops of reading that NumPy is too slow for: a chunk of voxels is inflated, checked and split into columns while it
 * is in the processor's cache, where NumPy goes through the memory twenty times. There is nothing of Python in it;
 * loops.py loads it with ctypes, which lets go of Python's lock once a call, so that reading threads do not wait for
 * each other.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* libdeflate.h: libdeflate_zlib_decompress, which this is not linked with, and what it works with. */
struct inflater {
    int (*decompress)(void *decompressor, const void *in, size_t in_bytes, void *out, size_t out_bytes,
                      size_t *out_bytes_written);
    void *decompressor;
};

/* Of the functions and structures that loops.py knows: one more with each change of them, in both files. */
const int loops_interface = 2;

/* Rows of a voxel table, in compressed chunks. */
struct packed_voxels {
    struct inflater inflater;
    const char *packed;
    const size_t *sizes;
    size_t chunks, chunk_rows;
    size_t row_bytes, id_at, value_at;
    /* Room for an inflated chunk, which stays in the processor's cache from its inflating to its last row. */
    char *room;
    /* Where in the first chunk the voxels begin, and how many there are. */
    size_t begin, voxels;
};

/* An inflated chunk's rows, of which rows[0] is voxel number `first`. */
struct chunk_rows {
    const char *rows;
    size_t first, end;
};

/* Inflates the chunk number `chunk`, which lies at *packed, and steps over it. Returns 0 where it is broken. */
static int next_chunk(const struct packed_voxels *from, size_t chunk, const char **packed, struct chunk_rows *next) {
    const struct inflater *with = &from->inflater;
    size_t bytes = from->chunk_rows * from->row_bytes, size = from->sizes[chunk];
    /* Without the last argument libdeflate accepts no other length than the one asked for. */
    if (with->decompress(with->decompressor, *packed, size, from->room, bytes, NULL))
        return 0;
    *packed += size;
    size_t end = (chunk + 1) * from->chunk_rows - from->begin;
    next->rows = from->room + (chunk ? 0 : from->begin) * from->row_bytes;
    next->first = chunk ? chunk * from->chunk_rows - from->begin : 0;
    next->end = end < from->voxels ? end : from->voxels;
    return 1;
}

static uint64_t id_at(const struct packed_voxels *from, const char *row) {
    uint64_t id;
    memcpy(&id, row + from->id_at, sizeof id);
    return id;
}

static float value_at(const struct packed_voxels *from, const char *row) {
    float value;
    memcpy(&value, row + from->value_at, sizeof value);
    return value;
}

/* Splits voxels into columns, and their ids into image row and column. Plane p has the voxels bounds[p] to
 * bounds[p + 1]. Returns 1 where all is as it should be: the ids of a plane ascend and are below `width` * `height`,
 * the values are finite, no chunk is broken. Returns 0 where anything is not; what is written is of no use then. */
int split_voxels(const struct packed_voxels *from, const size_t *bounds, int32_t height, int32_t width, int32_t *ids,
                 float *values, int32_t *rows, int32_t *columns) {
    const char *packed = from->packed;
    const uint64_t pixels = (uint64_t)width * (uint64_t)height;
    size_t plane = 0;
    /* The least id that may come next, and the column that the last one was in and the id where it begins. */
    uint64_t least = 0, top = 0;
    int32_t column = 0;
    for (size_t chunk = 0; chunk < from->chunks; chunk++) {
        struct chunk_rows part;
        if (!next_chunk(from, chunk, &packed, &part))
            return 0;
        const char *row = part.rows;
        for (size_t i = part.first; i < part.end;) {
            while (i == bounds[plane + 1]) {
                plane++;
                least = top = 0;
                column = 0;
            }
            size_t stop = bounds[plane + 1] < part.end ? bounds[plane + 1] : part.end;
            int wrong = 0;
            for (; i < stop; i++, row += from->row_bytes) {
                uint64_t id = id_at(from, row);
                float value = value_at(from, row);
                if (id < least || id >= pixels)
                    return 0;
                least = id + 1;
                while (id - top >= (uint64_t)height) {
                    top += (uint64_t)height;
                    column++;
                }
                wrong |= !isfinite(value);
                ids[i] = (int32_t)id;
                values[i] = value;
                rows[i] = (int32_t)(id - top);
                columns[i] = column;
            }
            if (wrong)
                return 0;
        }
    }
    return 1;
}

/* The values of voxels. Returns 1 where their ids are `ids`, the values are finite and no chunk is broken, else 0. */
int copy_values(const struct packed_voxels *from, const int32_t *ids, float *values) {
    const char *packed = from->packed;
    for (size_t chunk = 0; chunk < from->chunks; chunk++) {
        struct chunk_rows part;
        if (!next_chunk(from, chunk, &packed, &part))
            return 0;
        const char *row = part.rows;
        int wrong = 0;
        for (size_t i = part.first; i < part.end; i++, row += from->row_bytes) {
            values[i] = value_at(from, row);
            wrong |= (id_at(from, row) != (uint64_t)ids[i]) | !isfinite(values[i]);
        }
        if (wrong)
            return 0;
    }
    return 1;
}

/* Pairs (row, column), and `padding` in both from `n` to `length`. */
void pair_coordinates(const int32_t *rows, const int32_t *columns, size_t n, size_t length, int32_t padding,
                      int32_t *pairs) {
    for (size_t i = 0; i < n; i++) {
        pairs[2 * i] = rows[i];
        pairs[2 * i + 1] = columns[i];
    }
    for (size_t i = 2 * n; i < 2 * length; i++)
        pairs[i] = padding;
}
