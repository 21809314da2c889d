/* Broken and sound zlib streams for inflate_abreast.c, with a compiler's checks of every access; from the project's folder:
 *
 *     cc -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all tests/faults/fuzz_inflate.c -lz -o fuzz_inflate
 *     ./fuzz_inflate 100000 1
 *
 * Arguments: how many triples of streams, and a seed. Every buffer is as long as it must be and no longer.
 */
#include "../../cosmictagger_tf/data/inflate_abreast.c"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

static uint64_t state = 88172645463325252u;

/* Marsaglia's xorshift. */
static uint64_t draw(uint64_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static uint32_t checksum(uint32_t adler, const void *data, size_t bytes) {
    return (uint32_t)adler32(adler, data, (unsigned)bytes);
}

/* Voxels, labels, noise, few values, repetitions. */
static void fill(uint8_t *data, size_t length) {
    uint64_t kind = draw(5), id = draw(1000), values = 1 + draw(256);
    for (size_t i = 0; i < length; i++) {
        size_t column = i % 16;
        id += column ? 0 : 1 + (draw(8) ? 0 : draw(30));
        if (kind < 2)
            data[i] = (uint8_t)(column < 8 ? id >> 8 * column : column < 11 ? draw(kind ? 1 : 256) : column == 11 ? 0x3f : 0);
        else if (kind < 4 || i < 300 || !draw(3))
            data[i] = (uint8_t)draw(kind == 2 ? values : 4);
        else
            data[i] = data[i - 1 - draw(300)];
    }
}

/* A stream of `data`, broken perhaps; exactly as long as *bytes says. */
static uint8_t *pack(const uint8_t *data, size_t length, int broken, size_t *bytes) {
    uLongf size = compressBound(length);
    uint8_t *whole = malloc(size), *found;
    compress2(whole, &size, data, length, 1 + (int)draw(9));
    *bytes = size;
    for (uint64_t times = broken ? 1 + draw(4) : 0; times; times--) {
        if (!draw(4))
            *bytes = draw(size + 1);
        else
            whole[draw(draw(2) ? size : size < 80 ? size : 80)] = (uint8_t)draw(256);
    }
    found = malloc(*bytes ? *bytes : 1);
    memcpy(found, whole, *bytes);
    free(whole);
    return found;
}

static int is_what_zlib_finds(const struct packed *packed) {
    uLongf size = packed->out_bytes;
    uint8_t *out = malloc(size);
    int right = uncompress(out, &size, packed->in, packed->in_bytes) == Z_OK && size == packed->out_bytes &&
                !memcmp(out, packed->out, size);
    free(out);
    return right;
}

int main(int count, char **arguments) {
    long triples = count > 1 ? atol(arguments[1]) : 10000, taken = 0, wrong = 0;
    state ^= (count > 2 ? strtoull(arguments[2], NULL, 10) : 1) * 0x9E3779B97F4A7C15u;
    for (long triple = 0; triple < triples; triple++) {
        struct packed packed[ABREAST];
        uint8_t *in[ABREAST];
        size_t length = 200 + draw(4000);
        for (int i = 0; i < ABREAST; i++) {
            uint8_t *data = malloc(length);
            fill(data, length);
            packed[i].in = in[i] = pack(data, length, !draw(3), &packed[i].in_bytes);
            packed[i].out_bytes = length;
            packed[i].out = malloc(length);
            free(data);
        }
        if (inflate_abreast(packed, checksum)) {
            taken++;
            for (int i = 0; i < ABREAST; i++)
                wrong += !is_what_zlib_finds(packed + i);
        }
        for (int i = 0; i < ABREAST; i++) {
            free(in[i]);
            free(packed[i].out);
        }
    }
    printf("%ld triples, %ld inflated, %ld streams of them wrongly\n", triples, taken, wrong);
    return wrong != 0;
}
