/* Types and functions the runtime's own files share. */
#ifndef EDGEC_INTERNAL_H_
#define EDGEC_INTERNAL_H_

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "pool.h"
#include "program.h"

struct edgec_context {
  int threads;
  atomic_int owner;            /* process id of the run under way, 0 if none; another id is a run that a fork cut off */
  int pool_owner;              /* process id in which `pool` was made */
  edgec_pool *pool;            /* NULL until the first parallel launch */
  unsigned char *arena;
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

/* cpus.c: `requested`, or for 0 the default; at most EDGEC_POOL_MAX_THREADS. -1: EDGEC_THREADS is not a number. */
EDGEC_HIDDEN int edgec_resolve_threads(int requested);

/* memory.c: 64-byte aligned; NULL if there is not enough, or if `bytes` does not fit into size_t. */
EDGEC_HIDDEN void *edgec_aligned_alloc(uint64_t bytes);

#endif /* EDGEC_INTERNAL_H_ */
