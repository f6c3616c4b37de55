/* What rates.py measures: float32 multiply-adds in registers, and reads. One pair of functions an instruction set.
 * Multiply-adds are instructions spelled out, so that no compiler's taste comes between; enough of them are independent
 * to fill the pipelines: latency times instructions a cycle is at most 16 on the processors that have 32 registers, and
 * 10 on those with 16. */
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

#define TIMES_8(DO, x) DO(x, 0) DO(x, 1) DO(x, 2) DO(x, 3) DO(x, 4) DO(x, 5) DO(x, 6) DO(x, 7)
#define TIMES_12(DO, x) TIMES_8(DO, x) DO(x, 8) DO(x, 9) DO(x, 10) DO(x, 11)
#define TIMES_24(DO, x)                                                                                             \
  TIMES_12(DO, x) DO(x, 12) DO(x, 13) DO(x, 14) DO(x, 15) DO(x, 16) DO(x, 17) DO(x, 18) DO(x, 19) DO(x, 20)         \
  DO(x, 21) DO(x, 22) DO(x, 23)

#define DECLARE(type, i) type a##i = {0};
#define ADD_UP(sum, i) sum += a##i;
#define READ(type, i) a##i += source[i];

/* edgec_fma_NAME: `rounds` times CHAINS multiply-adds of a vector; returns the floating-point operations of a round.
 * edgec_read_NAME: reads `bytes` bytes (a multiple of 512) `passes` times. Both write what they computed to *out. */
#define FUNCTIONS(NAME, ATTRIBUTE, BYTES, CHAINS, MULTIPLY_ADD)                                                     \
  typedef float NAME __attribute__((vector_size(BYTES)));                                                           \
  ATTRIBUTE EXPORT int64_t edgec_fma_##NAME(int64_t rounds, float *out) {                                           \
    NAME x, sum = {0};                                                                                              \
    for (unsigned i = 0; i < BYTES / 4; ++i) x[i] = *out;                                                           \
    TIMES_##CHAINS(DECLARE, NAME) for (int64_t round = 0; round < rounds; ++round) {                                \
      TIMES_##CHAINS(MULTIPLY_ADD, x)                                                                               \
    }                                                                                                               \
    TIMES_##CHAINS(ADD_UP, sum) memcpy(out, &sum, sizeof *out);                                                     \
    return 2 * CHAINS * (BYTES / 4);                                                                                \
  }                                                                                                                 \
  ATTRIBUTE EXPORT void edgec_read_##NAME(const float *data, int64_t bytes, int64_t passes, float *out) {           \
    NAME sum = {0};                                                                                                 \
    TIMES_8(DECLARE, NAME) for (int64_t pass = 0; pass < passes; ++pass) {                                          \
      const NAME *source = (const NAME *)(const void *)data;                                                        \
      for (const NAME *end = source + bytes / BYTES; source < end; source += 8) {                                   \
        TIMES_8(READ, NAME)                                                                                         \
      }                                                                                                             \
    }                                                                                                               \
    TIMES_8(ADD_UP, sum) memcpy(out, &sum, sizeof *out);                                                            \
  }

#if defined(__x86_64__)
#define FUSED(x, i) __asm__("vfmadd231ps %1, %1, %0" : "+v"(a##i) : "v"(x));
#define SEPARATE(x, i) __asm__("mulps %1, %0\n\taddps %1, %0" : "+x"(a##i) : "x"(x));
FUNCTIONS(avx512, __attribute__((target("avx512f"))), 64, 24, FUSED)
FUNCTIONS(avx2, __attribute__((target("avx2,fma"))), 32, 12, FUSED)
FUNCTIONS(sse, , 16, 12, SEPARATE)
#elif defined(__aarch64__)
#define FUSED(x, i) __asm__("fmla %0.4s, %1.4s, %1.4s" : "+w"(a##i) : "w"(x));
FUNCTIONS(neon, , 16, 24, FUSED)
#elif defined(__arm__)
#define FUSED(x, i) __asm__("vfma.f32 %q0, %q1, %q1" : "+w"(a##i) : "w"(x));
FUNCTIONS(neon, , 16, 12, FUSED)
#else
#define PLAIN(x, i) a##i = a##i * x + x;
FUNCTIONS(plain, , 16, 12, PLAIN)
#endif
