/* Three zlib streams inflated at the same time, for the chunks of voxel tables.
 *
 * An inflater mostly waits: a code's length says where the next one begins, so that one look-up in a table cannot start
 * before the last has ended; and where literals and matches alternate without a rule, as in a table of numbers, the
 * processor guesses wrong which of them comes. Here streams that do not wait for each other take turns (three are as many
 * as have room in a processor's registers: two and four were slower), and before each match there are up to three literals
 * decoded without a branch: a step that finds no literal changes nothing.
 *
 * Only what zlib makes of a chunk is dealt with, one block with codes of its own. Anything else is left to libdeflate,
 * and so is every fault: the checksum decides whether what was found here is right.
 *
 * Source of the format: RFC 1950 and RFC 1951. The codes' tables are laid out as is usual since zlib's inftrees.c: the
 * first bits of a code lead to an entry or, for longer codes, to a second table.
 */
#include "inflate_abreast.h"

#include <string.h>

#if defined(__GNUC__) && defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__

#define INLINE static inline __attribute__((always_inline))
#define RARE(condition) __builtin_expect(!!(condition), 0)

enum { LITERALS = 256, END_OF_BLOCK = 256, LITLEN_CODES = 286, OFFSET_CODES = 30, LENGTH_CODES = 19, LONGEST_CODE = 15 };
enum { LITLEN_BITS = 11, OFFSET_BITS = 8, LENGTHS_BITS = 7 };
/* Room for the first tables and the longest second ones there can be (zlib's examples/enough.c: 2342 and 402). */
enum { LITLEN_ROOM = 2342, OFFSET_ROOM = 402, LENGTHS_ROOM = 1 << LENGTHS_BITS };
/* A step writes less than this many bytes, and reads less than that many. */
enum { STEP_OUT = 300, STEP_IN = 24 };

/* An entry of a table. Bits 0 to 7: the bits that it takes, the extra ones of a length or an offset among them; 8 to 11: of
 * these the code's own. Bits 16 to 30: literal, or least length or offset. To a second table: bits 0 to 7, the bits of the
 * first; 8 to 11, those of the second; 16 to 30, where it begins. */
#define LITERAL 0x80000000u
#define SPECIAL 0x8000u
#define SECOND_TABLE 0x4000u

static const uint16_t LENGTHS[LITLEN_CODES - LITERALS - 1] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                                              31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint8_t LENGTH_EXTRA[LITLEN_CODES - LITERALS - 1] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                                                  2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static const uint16_t OFFSETS[OFFSET_CODES] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                               193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};

enum state { ON, ENDED, WRONG };

struct stream {
    /* Bits that were read and not yet taken, the next one lowest. Their number is the low six bits of `count`; what the
     * others are does not matter. */
    uint64_t bits;
    uint32_t count;
    /* Bytes after the input's end that were made up for `bits`. */
    uint32_t made_up;
    const uint8_t *in, *in_end;
    uint8_t *out, *begin, *out_end;
    const uint32_t *litlen, *offset;
};

struct tables {
    uint32_t litlen[LITLEN_ROOM], offset[OFFSET_ROOM];
};

static uint32_t litlen_entry(unsigned symbol) {
    if (symbol < LITERALS)
        return LITERAL | symbol << 16;
    if (symbol == END_OF_BLOCK)
        return SPECIAL;
    return (uint32_t)LENGTHS[symbol - 257] << 16 | LENGTH_EXTRA[symbol - 257];
}

static uint32_t offset_entry(unsigned symbol) {
    return (uint32_t)OFFSETS[symbol] << 16 | (symbol < 4 ? 0 : symbol / 2 - 1);
}

static uint32_t length_entry(unsigned symbol) { return symbol << 16; }

/* The code after `code` of `length` bits, all of them reversed; `code` is not the last one, which is all ones. */
INLINE uint32_t next_code(uint32_t code, int length) {
    uint32_t zeros = code ^ ((1u << length) - 1), highest = 1u << (31 - __builtin_clz(zeros));
    return (code & (highest - 1)) | highest;
}

/* The table of the codes with these lengths; 0 where they are no complete code. */
INLINE int build(uint32_t *table, int bits, uint32_t room, const uint8_t *lengths, int symbols, uint32_t (*entry)(unsigned)) {
    uint16_t count[LONGEST_CODE + 1] = {0}, place[LONGEST_CODE + 2], sorted[LITLEN_CODES];
    for (int i = 0; i < symbols; i++)
        count[lengths[i]]++;
    count[0] = place[1] = 0;
    int32_t left = 1;
    for (int length = 1; length <= LONGEST_CODE; length++) {
        left = 2 * left - count[length];
        if (left < 0)
            return 0;
        place[length + 1] = place[length] + count[length];
    }
    int all = place[LONGEST_CODE + 1];
    for (int i = 0; i < symbols; i++)
        if (lengths[i])
            sorted[place[lengths[i]]++] = (uint16_t)i;
    if (left) {
        /* One symbol alone has a code of one bit, whose other value never comes. */
        if (all != 1 || count[1] != 1)
            return 0;
        for (int i = 0; i < 1 << bits; i++)
            table[i] = entry(sorted[0]) + (1 << 8 | 1);
        return 1;
    }
    uint32_t code = 0, filled = 1, second = 1u << bits, prefix = ~0u;
    int done = 0, length = 1, second_bits = 0;
    /* Each length has a table of its own, that of the length before it twice over. */
    for (; length <= bits; length++, filled *= 2) {
        memcpy(table + filled, table, length > 1 ? filled * sizeof *table : 0);
        for (int i = 0; i < count[length]; i++) {
            table[code] = entry(sorted[done]) + (uint32_t)(length << 8 | length);
            if (++done == all) {
                for (filled *= 2; length < bits; length++, filled *= 2)
                    memcpy(table + filled, table, filled * sizeof *table);
                return 1;
            }
            code = next_code(code, length);
        }
    }
    for (; length <= LONGEST_CODE; length++)
        for (int i = 0; i < count[length]; i++) {
            uint32_t own = (uint32_t)(length - bits);
            if ((code & ((1u << bits) - 1)) != prefix) {
                prefix = code & ((1u << bits) - 1);
                second += second_bits ? 1u << second_bits : 0;
                second_bits = length - bits;
                /* As many bits as the codes with this prefix need. */
                int32_t free = (1 << second_bits) - (count[length] - i);
                for (int longer = length + 1; free > 0 && longer <= LONGEST_CODE; longer++, second_bits++)
                    free = 2 * free - count[longer];
                if (second + (1u << second_bits) > room)
                    return 0;
                table[prefix] = second << 16 | SPECIAL | SECOND_TABLE | (uint32_t)(second_bits << 8 | bits);
            }
            for (uint32_t at = code >> bits; at < 1u << second_bits; at += 1u << own)
                table[second + at] = entry(sorted[done]) + (own << 8 | own);
            if (++done == all)
                return 1;
            code = next_code(code, length);
        }
    return 0;
}

INLINE void take(struct stream *s, uint32_t entry) {
    s->bits >>= entry & 63;
    s->count -= entry;
}

/* Makes `bits` at least 56; there must be eight more bytes of input. */
INLINE void refill(struct stream *s) {
    uint64_t next;
    uint32_t count = s->count & 63;
    memcpy(&next, s->in, sizeof next);
    s->bits |= next << count;
    s->in += (63 - count) >> 3;
    s->count = count | 56;
}

/* The same wherever the stream is: after its end come zeros. */
INLINE void refill_anywhere(struct stream *s) {
    if (s->in_end - s->in >= 8) {
        refill(s);
        return;
    }
    uint32_t count = s->count & 63;
    for (; count < 56; count += 8) {
        if (s->in < s->in_end)
            s->bits |= (uint64_t)*s->in++ << count;
        else
            s->made_up++;
    }
    s->count = count;
}

/* Whether the stream begins as zlib begins a single block with codes of its own; makes their tables. */
static int open_stream(struct stream *s, struct tables *tables, const struct packed *from) {
    static const uint8_t order[LENGTH_CODES] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[LITLEN_CODES + OFFSET_CODES + 138], short_lengths[LENGTH_CODES] = {0};
    uint32_t table[LENGTHS_ROOM];
    s->bits = s->count = s->made_up = 0;
    s->in = from->in;
    s->in_end = from->in + from->in_bytes;
    s->out = s->begin = from->out;
    s->out_end = from->out + from->out_bytes;
    s->litlen = tables->litlen;
    s->offset = tables->offset;
    refill_anywhere(s);
    unsigned method = s->bits & 255, flags = s->bits >> 8 & 255;
    if ((method & 15) != 8 || method >> 4 > 7 || (256 * method + flags) % 31 || flags & 32 || (s->bits >> 16 & 7) != 5)
        return 0;
    take(s, 19);
    int litlens = (int)(s->bits & 31) + 257, offsets = (int)(s->bits >> 5 & 31) + 1, shorts = (int)(s->bits >> 10 & 15) + 4;
    take(s, 14);
    if (litlens > LITLEN_CODES || offsets > OFFSET_CODES)
        return 0;
    for (int i = 0; i < shorts; i++) {
        refill_anywhere(s);
        short_lengths[order[i]] = s->bits & 7;
        take(s, 3);
    }
    if (!build(table, LENGTHS_BITS, LENGTHS_ROOM, short_lengths, LENGTH_CODES, length_entry))
        return 0;
    int found = 0;
    while (found < litlens + offsets) {
        refill_anywhere(s);
        uint32_t entry = table[s->bits & (LENGTHS_ROOM - 1)], symbol = entry >> 16;
        take(s, entry);
        if (symbol < 16) {
            lengths[found++] = (uint8_t)symbol;
            continue;
        }
        if (symbol == 16 && !found)
            return 0;
        /* The length before 3 to 6 times more, or zero 3 to 10 or 11 to 138 times. */
        int extra = symbol == 16 ? 2 : symbol == 17 ? 3 : 7, times = (symbol == 18 ? 11 : 3) + (int)(s->bits & ((1u << extra) - 1));
        take(s, (uint32_t)extra);
        memset(lengths + found, symbol == 16 ? lengths[found - 1] : 0, (size_t)times);
        found += times;
    }
    return found == litlens + offsets && lengths[END_OF_BLOCK] &&
           build(tables->litlen, LITLEN_BITS, LITLEN_ROOM, lengths, litlens, litlen_entry) &&
           build(tables->offset, OFFSET_BITS, OFFSET_ROOM, lengths + litlens, offsets, offset_entry);
}

INLINE uint32_t look_up(const uint32_t *table, int bits, uint64_t code) { return table[code & ((1u << bits) - 1)]; }

/* Least length or offset and what the extra bits add. */
INLINE size_t number(uint32_t entry, uint64_t bits) {
    return (entry >> 16) + ((bits & ((1ull << (entry & 63)) - 1)) >> (entry >> 8 & 63));
}

/* What `entry`, which is no literal of the first table, stands for; there are 48 bits. With `at_end` nothing is written
 * beyond out_end, else less than STEP_OUT bytes. */
INLINE enum state match(struct stream *s, uint32_t entry, int at_end) {
    if (RARE(entry & SPECIAL)) {
        if (entry & SECOND_TABLE) {
            take(s, entry);
            entry = look_up(s->litlen + (entry >> 16), entry >> 8 & 15, s->bits);
        }
        if (entry & (LITERAL | SPECIAL)) {
            take(s, entry);
            if (entry & SPECIAL)
                return ENDED;
            if (s->out == s->out_end)
                return WRONG;
            *s->out++ = (uint8_t)(entry >> 16);
            return ON;
        }
    }
    size_t length = number(entry, s->bits);
    take(s, entry);
    entry = look_up(s->offset, OFFSET_BITS, s->bits);
    if (RARE(entry & SECOND_TABLE)) {
        take(s, entry);
        entry = look_up(s->offset + (entry >> 16), entry >> 8 & 15, s->bits);
    }
    size_t offset = number(entry, s->bits);
    take(s, entry);
    if (RARE(offset > (size_t)(s->out - s->begin) || (at_end && length > (size_t)(s->out_end - s->out))))
        return WRONG;
    uint8_t *to = s->out, *from = to - offset, *end = to + length;
    s->out = end;
    if (at_end || RARE(offset < 8)) {
        while (to < end)
            *to++ = *from++;
        return ON;
    }
    /* Eight bytes at a time, beyond the end too. */
    do {
        memcpy(to, from, 8);
        memcpy(to + 8, from + 8, 8);
        to += 16;
        from += 16;
    } while (RARE(to < end));
    return ON;
}

/* A literal, or nothing where none comes: without a branch. */
INLINE void literal(struct stream *s) {
    uint32_t entry = look_up(s->litlen, LITLEN_BITS, s->bits), chosen = (uint32_t)((int32_t)entry >> 31);
    *s->out = (uint8_t)(entry >> 16);
    s->out += chosen & 1;
    take(s, entry & chosen);
}

/* Whether a step may be taken. */
INLINE int has_room(const struct stream *s) { return s->in < s->in_end - STEP_IN && s->out < s->out_end - STEP_OUT; }

/* Up to two literals, or three, and what comes after them. */
INLINE enum state step(struct stream *s, int three) {
    refill(s);
    literal(s);
    literal(s);
    if (three)
        literal(s);
    refill(s);
    uint32_t entry = look_up(s->litlen, LITLEN_BITS, s->bits);
    if (entry & LITERAL) {
        take(s, entry);
        *s->out++ = (uint8_t)(entry >> 16);
        return ON;
    }
    return match(s, entry, 0);
}

_Static_assert(ABREAST == 3, "take_turns knows three streams by name");

/* Steps of all streams, until one comes near its end; their states after that. */
INLINE void take_turns(struct stream *streams, enum state *states, int three) {
    /* In variables of their own, which the compiler keeps in registers. */
    struct stream a = streams[0], b = streams[1], c = streams[2];
    enum state state_a = ON, state_b = ON, state_c = ON;
    while (has_room(&a) && has_room(&b) && has_room(&c) && !(state_a | state_b | state_c)) {
        state_a = step(&a, three);
        state_b = step(&b, three);
        state_c = step(&c, three);
    }
    streams[0] = a, streams[1] = b, streams[2] = c;
    states[0] = state_a, states[1] = state_b, states[2] = state_c;
}

/* A table of floating-point numbers has mostly two or three literals between two matches, one of small integers has one
 * or two: seen from how well it is compressed. */
INLINE void take_their_turns(struct stream *streams, enum state *states, int hard) {
    if (hard)
        take_turns(streams, states, 1);
    else
        take_turns(streams, states, 0);
}

static void take_turns_anywhere(struct stream *streams, enum state *states, int hard) {
    take_their_turns(streams, states, hard);
}

#ifdef __x86_64__
/* With the shifts of newer processors. */
__attribute__((target("bmi,bmi2"))) static void take_turns_bmi2(struct stream *streams, enum state *states, int hard) {
    take_their_turns(streams, states, hard);
}
#define TAKE_TURNS (__builtin_cpu_supports("bmi2") ? take_turns_bmi2 : take_turns_anywhere)
#else
#define TAKE_TURNS take_turns_anywhere
#endif

/* To the stream's end. */
static enum state finish(struct stream *s, enum state state) {
    while (state == ON && has_room(s))
        state = step(s, 0);
    while (state == ON) {
        refill_anywhere(s);
        uint32_t entry = look_up(s->litlen, LITLEN_BITS, s->bits);
        if (!(entry & LITERAL)) {
            state = match(s, entry, 1);
        } else if (s->out < s->out_end) {
            take(s, entry);
            *s->out++ = (uint8_t)(entry >> 16);
        } else
            state = WRONG;
    }
    return state;
}

/* Whether all bytes were found, and the checksum, big-endian after the last block's last byte, is theirs. */
static int is_right(const struct stream *s, enum state state, adler32_function adler32) {
    uint32_t ahead = (s->count & 63) >> 3;
    if (state != ENDED || s->out != s->out_end || s->made_up > ahead)
        return 0;
    const uint8_t *sum = s->in - (ahead - s->made_up);
    if (s->in_end - sum != 4)
        return 0;
    uint32_t expected = (uint32_t)sum[0] << 24 | (uint32_t)sum[1] << 16 | (uint32_t)sum[2] << 8 | sum[3];
    return adler32(1, s->begin, (size_t)(s->out_end - s->begin)) == expected;
}

int inflate_abreast(const struct packed *packed, adler32_function adler32) {
    struct stream streams[ABREAST];
    struct tables tables[ABREAST];
    enum state states[ABREAST];
    for (int i = 0; i < ABREAST; i++)
        if (packed[i].in_bytes < STEP_IN || packed[i].out_bytes < STEP_OUT || !open_stream(streams + i, tables + i, packed + i))
            return 0;
    TAKE_TURNS(streams, states, packed->in_bytes > packed->out_bytes / 4);
    for (int i = 0; i < ABREAST; i++)
        if (!is_right(streams + i, finish(streams + i, states[i]), adler32))
            return 0;
    return 1;
}

#else

int inflate_abreast(const struct packed *packed, adler32_function adler32) {
    (void)packed, (void)adler32;
    return 0;
}

#endif
