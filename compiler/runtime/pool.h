/* A pool of worker threads that belongs to one context. */
#ifndef EDGEC_POOL_H_
#define EDGEC_POOL_H_

#include <stdbool.h>
#include <stdint.h>

#define EDGEC_SPIN_NS 50000u       /* so long an idle thread looks for work before it sleeps; about a wake-up */
#define EDGEC_SHORT_RUN_NS 60000u  /* runs up to it gain less from workers than waking them costs */

/* Unclaimed tasks are the bits of one machine word, so more threads could find nothing to claim. */
#define EDGEC_POOL_MAX_THREADS ((int)(sizeof(uintptr_t) * 8))

/* As in TVM's c_backend_api.h. */
typedef struct TVMParallelGroupEnv {
  void *sync_handle; /* the launch's failure flag (atomic_bool *) */
  int32_t num_task;
} TVMParallelGroupEnv;
typedef int (*FTVMParallelLambda)(int task_id, TVMParallelGroupEnv *penv, void *cdata);

typedef struct edgec_pool edgec_pool;
struct edgec_context;

/* threads: 2 .. EDGEC_POOL_MAX_THREADS, the launching thread included. Starts the workers; fewer than asked for if the
 * system refuses (launches still complete). NULL if there is no memory. */
edgec_pool *edgec_pool_create(struct edgec_context *context, int threads);

/* Runs fn for the task ids 0 .. num_task-1 (0: as many as suit the threads), on the caller and on whichever workers
 * come in time; returns when all are done. One launch at a time. 0, or -1 if a task failed; tasks not begun by then
 * are skipped. */
int edgec_pool_launch(edgec_pool *pool, FTVMParallelLambda fn, void *cdata, int32_t num_task);

/* Ends and joins the workers. */
void edgec_pool_destroy(edgec_pool *pool);

/* In a forked child, where the workers do not exist: frees the memory and touches no lock, which might be held. */
void edgec_pool_abandon(edgec_pool *pool);

/* The tasks of one launch on the calling thread alone; 0 or -1. */
int edgec_run_inline(FTVMParallelLambda fn, void *cdata, int32_t num_task);

#endif /* EDGEC_POOL_H_ */
