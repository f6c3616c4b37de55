/* Weights that the file holds in fewer bits: unpacked into memory that all contexts of the model share. */
#define _DEFAULT_SOURCE /* madvise */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define ABSENT 14  /* the code of an exponent of zero: zeros, and numbers below the normal ones */
#define ESCAPED 15 /* the code of an exponent that stands in a list */

uint8_t *edgec_unpacked;

/* Contexts that there are, and the process id of the thread that changes these; another id was cut off by a fork. */
static uint32_t users;
static atomic_int owner;

static void lock(int process) {
  for (;;) {
    int now = atomic_load(&owner);
    if (now != process && atomic_compare_exchange_strong(&owner, &now, process)) return;
    (void)sched_yield();
  }
}

static size_t align(uint32_t bytes) { return ((size_t)bytes + 63) & ~(size_t)63; }

/* Sign and mantissa in three bytes a number, then a code of four bits for its exponent, then exponents of their own.
 * This and the next ones return whether what they read is what it should be. */
static bool unpack_exponents(const edgec_packed *packed, uint8_t *to) {
  const uint8_t *from = edgec_weights + packed->from, *end = from + packed->size;
  if (3 * (uint64_t)packed->count + packed->count / 2 + packed->count % 2 > packed->size) return false;
  const uint8_t *codes = from + 3 * (size_t)packed->count, *next = codes + packed->count / 2 + packed->count % 2;
  uint32_t exponents[16] = {0};
  for (uint32_t code = 0; code < ABSENT && code <= packed->top; ++code) exponents[code] = (packed->top - code) << 23;
  for (uint32_t i = 0; i < packed->count; ++i, from += 3) {
    uint32_t low = from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16;
    uint32_t code = codes[i / 2] >> (i % 2 * 4) & 15, exponent = exponents[code];
    if (code == ESCAPED) {
      if (next == end) return false;
      exponent = (uint32_t)*next++ << 23;
    }
    uint32_t bits = (low & 0x800000u) << 8 | exponent | (low & 0x7fffffu);
    memcpy(to + 4 * (size_t)i, &bits, sizeof bits);
  }
  return next == end;
}

/* Coded bytes come without gaps; then each constant moves to where it is aligned. */
static bool unpack_coded(const edgec_packed *packed, const uint32_t *sizes, uint8_t *to) {
  const uint8_t *from = edgec_weights + packed->from, *end = from + packed->size;
  if (edgec_decode(from, end, packed->planes, to, packed->count) != end) return false;
  size_t close = 0, aligned = 0;
  for (uint32_t i = 0; i < packed->parts; ++i) close += sizes[i], aligned += align(sizes[i]);
  for (uint32_t i = packed->parts; i-- > 0;) {
    close -= sizes[i], aligned -= align(sizes[i]);
    memmove(to + aligned, to + close, sizes[i]);
  }
  return true;
}

static bool unpack_one(const edgec_packed *packed, const uint32_t *sizes, uint8_t *to) {
  return packed->planes > 0 ? unpack_coded(packed, sizes, to) : unpack_exponents(packed, to);
}

static void multiply(const edgec_multiple *multiple, uint8_t *memory) {
  const uint8_t *by = (multiple->unpacked ? memory : edgec_weights) + multiple->by;
  for (uint8_t *to = memory + multiple->to, *end = to + 4 * (size_t)multiple->count; to < end; to += 4, by += 4) {
    int32_t count;
    float factor;
    memcpy(&count, to, sizeof count);
    memcpy(&factor, by, sizeof factor);
    factor *= (float)count;
    memcpy(to, &factor, sizeof factor);
  }
}

/* The pages of the file that are not needed any more; never changed, they can be read again. */
static void drop_pages(const uint8_t *begin, const uint8_t *end) {
  long size = sysconf(_SC_PAGESIZE);
  if (size <= 0) return;
  uintptr_t mask = (uintptr_t)size - 1, first = ((uintptr_t)begin + mask) & ~mask, last = (uintptr_t)end & ~mask;
  if (first < last) (void)madvise((void *)first, last - first, MADV_DONTNEED);
}

static edgec_status unpack(void) {
  const edgec_program *program = &edgec_program_;
  uint8_t *memory = edgec_aligned_alloc(program->unpacked_bytes);
  if (memory == NULL) return EDGEC_OUT_OF_MEMORY;
  const uint32_t *sizes = program->parts;
  for (uint32_t i = 0; i < program->num_packed; ++i) {
    const edgec_packed *packed = &program->packed[i];
    if (!unpack_one(packed, sizes, memory + packed->to)) {
      free(memory);
      return EDGEC_INCOMPATIBLE;
    }
    sizes += packed->parts;
    drop_pages(edgec_weights + packed->from, edgec_weights + packed->from + packed->size);
  }
  for (uint32_t i = 0; i < program->num_multiples; ++i) multiply(&program->multiples[i], memory);
  edgec_unpacked = memory;
  return EDGEC_OK;
}

edgec_status edgec_weights_hold(void) {
  edgec_status status = EDGEC_OK;
  if (edgec_program_.num_packed == 0) return status;
  lock((int)getpid());
  if (users == 0) status = unpack();
  if (status == EDGEC_OK) ++users;
  atomic_store(&owner, 0);
  return status;
}

void edgec_weights_release(void) {
  if (edgec_program_.num_packed == 0) return;
  lock((int)getpid());
  if (--users == 0) {
    free(edgec_unpacked);
    edgec_unpacked = NULL;
  }
  atomic_store(&owner, 0);
}
