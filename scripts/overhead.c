/* What bench_overhead.py measures of the runtime: parallel launches, without a model. */
#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include <stdlib.h>
#include <time.h>

#include "internal.h"

const edgec_program edgec_program_ = {.abi = EDGEC_ABI};
const char edgec_manifest_section[EDGEC_MANIFEST_HEADER_BYTES + 1];
const uint8_t edgec_weights[1];

static void keep_busy(uint64_t nanoseconds) {
  for (uint64_t end = edgec_now_ns() + nanoseconds; edgec_now_ns() < end;) {
  }
}

static int share_work(int task, TVMParallelGroupEnv *env, void *work_ns) {
  (void)task;
  if (*(uint64_t *)work_ns > 0) keep_busy(*(uint64_t *)work_ns / (uint64_t)env->num_task);
  return 0;
}

/* took[i]: nanoseconds of the i-th launch of `work_ns` of work for one thread. Before each the caller sleeps for so
 * long that the workers do too, or else is busy for `gap_ns`. 0, or -1 for lack of memory. */
__attribute__((visibility("default"))) int edgec_measure_launches(int threads, uint64_t work_ns, uint64_t gap_ns,
                                                                  int asleep, uint64_t *took, int count) {
  struct edgec_context context = {.placement = {.threads = threads}, .wakes = true};
  edgec_pool *pool = edgec_pool_create(&context, threads);
  if (pool == NULL) return -1;
  struct timespec pause = {0, 1000000};
  for (int i = 0; i < count; ++i) {
    if (asleep) {
      (void)nanosleep(&pause, NULL);
    } else {
      keep_busy(gap_ns);
    }
    uint64_t begin = edgec_now_ns();
    (void)edgec_pool_launch(pool, share_work, &work_ns, 0);
    took[i] = edgec_now_ns() - begin;
  }
  edgec_pool_destroy(pool);
  return 0;
}
