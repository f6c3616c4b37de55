/* What the generated host program and the manifest section give to the runtime (internal, never installed). */
#ifndef EDGEC_PROGRAM_H_
#define EDGEC_PROGRAM_H_

#include "edgec.h"

#define EDGEC_HIDDEN __attribute__((visibility("hidden")))

#define EDGEC_MANIFEST_HEADER_BYTES 48 /* magic, format, capacity, SHA-256; the JSON text follows */

/* The program for one choice of the inputs' shapes. */
typedef struct edgec_version {
  const edgec_tensor *inputs, *outputs; /* static tables */
  /* 0 on success; else *failed_kernel names the kernel that returned it (a static string).
   * ended: NULL, or num_steps times, of the end of each step. */
  int32_t (*run)(uint8_t *arena, const void *const *inputs, void *const *outputs, const char **failed_kernel,
                 uint64_t *ended);
  uint32_t num_steps;
} edgec_version;

/* Constants that the file holds in fewer bits (compiler/build/packing.py): coded ones, or one of float32 numbers. */
typedef struct edgec_packed {
  uint32_t from, size; /* in edgec_weights */
  uint32_t to;         /* their place in the unpacked weights, in bytes */
  uint32_t count;      /* bytes of coded ones; numbers */
  uint32_t parts;      /* constants, whose sizes stand in a list of the program's */
  uint8_t planes;      /* of coded ones; 0: not coded */
  uint8_t top;         /* the largest exponent that has a code */
} edgec_packed;

/* A constant that comes as int32, and becomes float32 when multiplied by another one (compiler/build/multiples.py). */
typedef struct edgec_multiple {
  uint32_t to;       /* its place in the unpacked weights, in bytes */
  uint32_t by;       /* where the other one is: there too, or in edgec_weights */
  uint32_t count;    /* numbers */
  uint32_t unpacked; /* whether the other one is unpacked */
} edgec_multiple;

typedef struct edgec_program {
  uint32_t abi; /* EDGEC_ABI the program was generated for */
  uint32_t num_inputs, num_outputs, num_versions;
  const edgec_version *versions; /* the last has the largest shapes */
  size_t arena_bytes;            /* one 64-byte aligned arena a context, owned by the runtime, not cleared */
  int32_t fast_cores;            /* of the target; 0: not known */
  uint32_t num_packed;
  uint32_t unpacked_bytes;
  const edgec_packed *packed;
  const uint32_t *parts; /* bytes of constants, in the order of `packed` */
  uint32_t num_multiples;
  const edgec_multiple *multiples;
} edgec_program;

extern EDGEC_HIDDEN const edgec_program edgec_program_;    /* defined by the generated file */
extern EDGEC_HIDDEN const char edgec_manifest_section[];   /* the manifest section, from its magic on */

extern EDGEC_HIDDEN const uint8_t edgec_weights[];

/* unpack.c: there while there is a context. */
extern EDGEC_HIDDEN uint8_t *edgec_unpacked;

/* clock.c: nanoseconds since some moment. */
EDGEC_HIDDEN uint64_t edgec_now_ns(void);

#endif /* EDGEC_PROGRAM_H_ */
