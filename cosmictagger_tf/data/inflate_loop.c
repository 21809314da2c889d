/* Inflates chunk after chunk in one call, so that a reading thread lets go of Python's lock once for an event and not
 * once for each of its hundred chunks: two threads no longer wait for each other. There is nothing of Python in it;
 * inflate.py loads it with ctypes and hands over libdeflate's function, which it is not linked with.
 */
#include <stddef.h>

/* libdeflate.h: libdeflate_zlib_decompress. */
typedef int (*decompress_function)(void *decompressor, const void *in, size_t in_bytes, void *out, size_t out_bytes,
                                   size_t *out_bytes_found);

/* Chunks that lie one after the other in `packed`, each of `length` bytes once inflated. Returns 0, or libdeflate's
 * status of the first chunk that is broken. */
int inflate_chunks(decompress_function decompress, void *decompressor, const char *packed, const size_t *sizes,
                   size_t chunks, char *out, size_t length) {
    for (size_t chunk = 0; chunk < chunks; chunk++) {
        /* Without the last argument libdeflate accepts no other length than the one asked for. */
        int status = decompress(decompressor, packed, sizes[chunk], out, length, NULL);
        if (status)
            return status;
        packed += sizes[chunk];
        out += length;
    }
    return 0;
}
