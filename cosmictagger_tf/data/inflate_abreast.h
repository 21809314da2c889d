#include <stddef.h>
#include <stdint.h>

/* libdeflate.h: libdeflate_adler32. */
typedef uint32_t (*adler32_function)(uint32_t adler, const void *data, size_t bytes);

/* A zlib stream, and where its bytes go; `out_bytes` of them, neither more nor fewer. */
struct packed {
    const uint8_t *in;
    size_t in_bytes;
    uint8_t *out;
    size_t out_bytes;
};

enum { ABREAST = 3 };

/* Inflates so many zlib streams at the same time. Returns 1 where all were right, to the checksum; 0 where anything is broken
 * or merely unusual: what was written is of no use then, and another inflater must say what is the matter. Neither reads
 * nor writes beyond what `packed` names. */
int inflate_abreast(const struct packed *packed, adler32_function adler32);
