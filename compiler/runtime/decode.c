/* Bytes in prefix codes (compiler/build/coding.py), whatever they are: nothing is read or written beyond its end. */
#include "internal.h"

#define LONGEST 11 /* bits of a code */
#define STREAMS 4  /* decoded at once, since a code must be known before the next one in its stream begins */
#define BEYOND 8   /* bytes behind the last plane, so that eight can be read where one is wanted */

/* The first byte of a plane. */
enum { SAME, RAW, CODED };

typedef struct stream {
  const uint8_t *next;
  uint64_t bits; /* the highest come first */
  int64_t count; /* how many of them there are; below zero if some were taken that are not */
} stream;

/* At least 56 bits, enough for five codes; zeros if there are not eight bytes before `last`, which damage only does. */
static inline void refill(stream *s, const uint8_t *last) {
  const uint8_t *p = s->next;
  if (p > last) return;
  uint64_t high = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
  uint64_t low = (uint32_t)p[4] << 24 | (uint32_t)p[5] << 16 | (uint32_t)p[6] << 8 | p[7];
  s->bits |= (high << 32 | low) >> s->count;
  s->next += (63 - s->count) >> 3;
  s->count |= 56;
}

/* table: by the next LONGEST bits, the byte that they begin with the code of, and above it the length of that code. */
static inline uint8_t take(stream *s, const uint16_t *table) {
  uint16_t entry = table[s->bits >> (64 - LONGEST)];
  s->bits <<= entry >> 8;
  s->count -= entry >> 8;
  return (uint8_t)entry;
}

/* How many bits up to `end` were not taken; negative if too many were. */
static inline int64_t left_over(const stream *s, const uint8_t *end) { return 8 * (int64_t)(end - s->next) + s->count; }

/* This and the next ones return the end of what they read; NULL if it is not what it should be. */
static const uint8_t *read_code(const uint8_t *from, const uint8_t *end, uint16_t *table) {
  uint8_t lengths[256] = {0};
  uint32_t nibbles = 0, at = 0;
  for (uint32_t byte = 0; byte < 256; ++nibbles) {
    if (from + nibbles / 2 >= end) return NULL;
    uint32_t nibble = from[nibbles / 2] >> (nibbles % 2 * 4) & 15;
    if (nibble <= LONGEST) lengths[byte++] = (uint8_t)nibble;
    else byte += 1u << (nibble - LONGEST); /* so many that have no code */
  }
  for (uint32_t length = 1; length <= LONGEST; ++length) {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      if (lengths[byte] != length) continue;
      for (uint32_t left = 1u << (LONGEST - length); left > 0; --left) {
        if (at == 1u << LONGEST) return NULL;
        table[at++] = (uint16_t)(length << 8 | byte);
      }
    }
  }
  return at == 1u << LONGEST ? from + (nibbles + 1) / 2 : NULL;
}

static const uint8_t *decode_coded(const uint8_t *from, const uint8_t *end, uint32_t planes, uint8_t *to,
                                   uint32_t count) {
  uint16_t table[1 << LONGEST];
  from = read_code(from, end, table);
  if (from == NULL || end - from < 4 * STREAMS + BEYOND) return NULL;
  const uint8_t *last = end - BEYOND, *begin = from + 4 * STREAMS;
  stream s[STREAMS] = {{0}};
  for (uint32_t i = 0; i < STREAMS; ++i, from += 4) {
    uint32_t size = from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
    if (size > (size_t)(last - begin)) return NULL;
    s[i].next = begin;
    begin += size;
  }
  uint32_t rest = count % STREAMS, left = count / STREAMS;
  size_t far = (size_t)left * planes;
  stream a = s[0], b = s[1], c = s[2], d = s[3]; /* in registers */
  while (left > 0) {
    uint32_t now = left < 5 ? left : 5;
    left -= now;
    refill(&a, last), refill(&b, last), refill(&c, last), refill(&d, last);
    for (; now > 0; --now, to += planes) {
      to[0] = take(&a, table);
      to[far] = take(&b, table);
      to[2 * far] = take(&c, table);
      to[3 * far] = take(&d, table);
    }
  }
  int64_t unread = left_over(&a, s[1].next) | left_over(&b, s[2].next) | left_over(&c, s[3].next) | left_over(&d, begin);
  if ((unread & ~(int64_t)7) != 0 || rest > (size_t)(last - begin)) return NULL; /* less than a byte, of each */
  for (to += 3 * far; rest > 0; --rest, to += planes) *to = *begin++;
  return begin;
}

static const uint8_t *decode_plane(const uint8_t *from, const uint8_t *end, uint32_t planes, uint8_t *to,
                                   uint32_t count) {
  if (from == end) return NULL;
  uint8_t kind = *from++;
  if (kind == CODED) return decode_coded(from, end, planes, to, count);
  size_t step = kind == RAW, size = kind == RAW ? count : 1;
  if (kind > RAW || (size_t)(end - from) < size) return NULL;
  for (uint32_t i = 0; i < count; ++i) to[(size_t)i * planes] = from[i * step];
  return from + size;
}

const uint8_t *edgec_decode(const uint8_t *from, const uint8_t *end, uint32_t planes, uint8_t *to, uint32_t bytes) {
  for (uint32_t plane = 0; plane < planes && from != NULL; ++plane) {
    from = decode_plane(from, end, planes, to + plane, bytes / planes);
  }
  return from == NULL || end - from != BEYOND ? NULL : end;
}
