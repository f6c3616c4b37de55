/* Types and functions the runtime's own files share. */
#ifndef EDGEC_INTERNAL_H_
#define EDGEC_INTERNAL_H_

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "pool.h"
#include "program.h"

#define EDGEC_MAX_CPUS 1024 /* as many as the C library's sets hold */

typedef struct edgec_cpus {
  unsigned long words[EDGEC_MAX_CPUS / (8 * sizeof(unsigned long))];
} edgec_cpus;

/* Where the threads of a context run. */
typedef struct edgec_placement {
  int threads;
  bool binds;          /* the workers are bound to `cpus` */
  bool asked;          /* someone asked for these CPUs: the caller of a run is bound too while it lasts */
  edgec_cpus cpus;
  const char *warning; /* what could not be done, a static string; or NULL */
} edgec_placement;

struct edgec_context {
  edgec_placement placement;
  atomic_int owner;            /* process id of the run under way, 0 if none; another id is a run that a fork cut off */
  int pool_owner;              /* process id in which `pool` was made */
  edgec_pool *pool;            /* NULL until the first parallel launch */
  uint64_t took_ns, ended_ns;  /* the last run of several threads */
  bool wakes;                  /* this run is worth waking workers that sleep */
  unsigned char *arena;
  const edgec_version *version;
  _Atomic(const char *) detail; /* what a backend function knows about the failure; a static string */
  char error[256];
};

/* One record on the stack of each thread that is inside a run: the caller's and the workers'. */
typedef struct edgec_current {
  edgec_context *context;
  bool in_task; /* inside a parallel task, where a further launch runs inline */
} edgec_current;

/* current.c: per-thread values in pthread keys. Not __thread: that needs __tls_get_addr from the dynamic linker. */
EDGEC_HIDDEN bool edgec_keys_ready(void);
EDGEC_HIDDEN edgec_current *edgec_current_get(void);
EDGEC_HIDDEN void edgec_current_set(edgec_current *current);
EDGEC_HIDDEN const char *edgec_thread_error_get(void);
EDGEC_HIDDEN void edgec_thread_error_set(const char *text); /* a static string */

/* cpus.c: fills `out`, or returns why not, a static string. root: /sys. threads 0, affinity NULL: the environment's,
 * else the default. fast_cores: of the target, 0 if it does not know. */
EDGEC_HIDDEN const char *edgec_place(const char *root, int threads, const char *affinity, int fast_cores,
                                     edgec_placement *out);

/* affinity.c */
EDGEC_HIDDEN void edgec_cpus_add(edgec_cpus *cpus, int cpu);
EDGEC_HIDDEN void edgec_cpus_remove(edgec_cpus *cpus, int cpu);
EDGEC_HIDDEN bool edgec_cpus_has(const edgec_cpus *cpus, int cpu);
EDGEC_HIDDEN int edgec_cpus_count(const edgec_cpus *cpus);
EDGEC_HIDDEN bool edgec_cpus_usable(edgec_cpus *cpus); /* by this thread; false if the system does not say, then all */
EDGEC_HIDDEN bool edgec_bind(const edgec_cpus *cpus);  /* this thread; false if the system refuses */
/* Binds this thread unless it is bound to a part of `cpus`; true if it did, then `before` is to be restored. */
EDGEC_HIDDEN bool edgec_bind_for_a_run(const edgec_cpus *cpus, edgec_cpus *before);
EDGEC_HIDDEN bool edgec_can_bind(const edgec_cpus *cpus); /* tries it in a thread of its own */

/* memory.c: 64-byte aligned; NULL if there is not enough, or if `bytes` does not fit into size_t. */
EDGEC_HIDDEN void *edgec_aligned_alloc(uint64_t bytes);

/* unpack.c: unpacks the weights for the first user, and frees them after the last. */
EDGEC_HIDDEN edgec_status edgec_weights_hold(void);
EDGEC_HIDDEN void edgec_weights_release(void);

/* decode.c: `bytes` to `to`, of which every so manyeth shares a plane. The end of what it read, NULL if that is wrong. */
EDGEC_HIDDEN const uint8_t *edgec_decode(const uint8_t *from, const uint8_t *end, uint32_t planes, uint8_t *to,
                                         uint32_t bytes);

#endif /* EDGEC_INTERNAL_H_ */
