/* The thread pool. A launch publishes its unclaimed tasks as the bits of one word; whoever clears a bit owns that task.
 * The caller claims too, so a launch waits only for workers that hold a task, never for one that the system has not
 * yet scheduled. A worker reads the launch's function and arguments only after it has claimed a task of it: the launch
 * cannot end before that task, so they cannot change under it, and a late worker can at worst claim a task of a newer
 * launch, which is as good. Each thread first claims the tasks of its own index, which keeps its cache warm, then
 * helps the others from their end.
 */
#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "event.h"
#include "internal.h"

#define QUIET_NS 10000u     /* spin with the pause instruction so long, then yield between looks */
#define TASKS_PER_THREAD 4  /* so that a thread that comes late, or is slower, does less */
#define LOOKS 32            /* looks at the word between two looks at the clock */

typedef struct {
  edgec_pool *pool;
  int index; /* 1 ..; the launching thread is 0 */
  pthread_t thread;
} worker;

struct edgec_pool {
  /* Written by claimers and the launcher. */
  _Alignas(64) _Atomic uintptr_t unclaimed;
  _Alignas(64) edgec_event pending; /* word: groups of tasks not yet finished */
  atomic_bool launcher_sleeps;
  /* Where idle workers sleep; word: counts launches. */
  _Alignas(64) edgec_event wakeup;
  atomic_int sleepers;
  atomic_bool stop;
  /* The launch under way; written before `unclaimed`, read after a claim. */
  _Alignas(64) FTVMParallelLambda fn;
  void *cdata;
  TVMParallelGroupEnv env;
  atomic_bool failed;
  int groups;
  struct edgec_context *context;
  int tasks; /* that a launch is divided into where the kernel leaves it to us */
  int started;
  worker workers[];
};

static void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || (defined(__arm__) && __ARM_ARCH >= 7)
  __asm__ volatile("yield");
#endif
}

/* Claims the next of the thread's own tasks, else the last of what is left; -1 if nothing is. */
static int claim_any(edgec_pool *pool, int index) {
  int first = index * TASKS_PER_THREAD;
  uintptr_t own = first < EDGEC_POOL_MAX_THREADS ? (((uintptr_t)1 << TASKS_PER_THREAD) - 1) << first : 0;
  for (;;) {
    uintptr_t left = atomic_load_explicit(&pool->unclaimed, memory_order_relaxed);
    if (left == 0) return -1;
    int group = (left & own) != 0 ? __builtin_ctzl(left & own) : EDGEC_POOL_MAX_THREADS - 1 - __builtin_clzl(left);
    if ((atomic_fetch_and(&pool->unclaimed, ~((uintptr_t)1 << group)) >> group & 1) != 0) return group;
  }
}

static void work(edgec_pool *pool, int index) {
  int group;
  uint32_t finished = 0;
  while ((group = claim_any(pool, index)) >= 0) {
    for (int64_t task = group; task < pool->env.num_task; task += pool->groups) {
      if (atomic_load_explicit(&pool->failed, memory_order_relaxed)) break;
      if (pool->fn((int)task, &pool->env, pool->cdata) != 0) atomic_store(&pool->failed, true);
    }
    ++finished;
  }
  if (finished > 0 && atomic_fetch_sub(&pool->pending.word, finished) == finished &&
      atomic_load(&pool->launcher_sleeps)) {
    edgec_event_wake(&pool->pending, 1);
  }
}

static bool has_work(edgec_pool *pool) { return atomic_load(&pool->unclaimed) != 0 || atomic_load(&pool->stop); }

static bool is_done(edgec_pool *pool) { return atomic_load(&pool->pending.word) == 0; }

static bool spin_until(bool (*ready)(edgec_pool *), edgec_pool *pool) {
  uint64_t start = 0;
  for (;;) {
    for (int i = 0; i < LOOKS; ++i) {
      if (ready(pool)) return true;
      pause_cpu();
    }
    uint64_t now = edgec_now_ns();
    if (start == 0) start = now;
    if (now - start >= EDGEC_SPIN_NS) return ready(pool);
    if (now - start >= QUIET_NS) sched_yield(); /* someone with real work may want this CPU */
  }
}

static void wait_for_work(edgec_pool *pool) {
  if (spin_until(has_work, pool)) return;
  uint32_t seen = atomic_load(&pool->wakeup.word);
  atomic_fetch_add(&pool->sleepers, 1);
  /* Either this look sees the launcher's work, or the launcher sees this sleeper: both sides are seq_cst. */
  if (!has_work(pool)) edgec_event_wait(&pool->wakeup, seen);
  atomic_fetch_sub(&pool->sleepers, 1);
}

static void *worker_main(void *argument) {
  worker *self = argument;
  edgec_pool *pool = self->pool;
  edgec_current current = {pool->context, true};
  edgec_current_set(&current);
  if (pool->context->placement.binds) (void)edgec_bind(&pool->context->placement.cpus);
  while (!atomic_load(&pool->stop)) {
    wait_for_work(pool);
    work(pool, self->index);
  }
  edgec_current_set(NULL);
  return NULL;
}

static void start_workers(edgec_pool *pool, int threads) {
  sigset_t all, old;
  sigfillset(&all); /* the program's signals are for its own threads */
  if (pthread_sigmask(SIG_BLOCK, &all, &old) != 0) return;
  while (pool->started < threads - 1) {
    worker *next = &pool->workers[pool->started];
    next->pool = pool;
    next->index = pool->started + 1;
    if (pthread_create(&next->thread, NULL, worker_main, next) != 0) break;
    ++pool->started;
  }
  (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
}

edgec_pool *edgec_pool_create(struct edgec_context *context, int threads) {
  edgec_pool *pool = edgec_aligned_alloc(sizeof(edgec_pool) + (size_t)threads * sizeof(worker));
  if (pool == NULL) return NULL;
  atomic_init(&pool->unclaimed, 0);
  atomic_init(&pool->launcher_sleeps, false);
  atomic_init(&pool->sleepers, 0);
  atomic_init(&pool->stop, false);
  atomic_init(&pool->failed, false);
  pool->context = context;
  pool->tasks = threads * TASKS_PER_THREAD;
  if (pool->tasks > EDGEC_POOL_MAX_THREADS) pool->tasks = EDGEC_POOL_MAX_THREADS;
  pool->started = 0;
  if (edgec_event_init(&pool->pending) != 0) {
    free(pool);
    return NULL;
  }
  if (edgec_event_init(&pool->wakeup) != 0) {
    edgec_event_destroy(&pool->pending);
    free(pool);
    return NULL;
  }
  start_workers(pool, threads);
  return pool;
}

int edgec_pool_launch(edgec_pool *pool, FTVMParallelLambda fn, void *cdata, int32_t num_task) {
  bool wakes = pool->context->wakes;
  if (num_task == 0) num_task = pool->tasks;
  if (!wakes && atomic_load(&pool->sleepers) == pool->started) return edgec_run_inline(fn, cdata, num_task);
  int groups = num_task < EDGEC_POOL_MAX_THREADS ? num_task : EDGEC_POOL_MAX_THREADS;
  pool->fn = fn;
  pool->cdata = cdata;
  pool->env.sync_handle = &pool->failed;
  pool->env.num_task = num_task;
  pool->groups = groups;
  atomic_store_explicit(&pool->failed, false, memory_order_relaxed);
  atomic_store_explicit(&pool->pending.word, (uint32_t)groups, memory_order_relaxed);
  atomic_store(&pool->unclaimed, UINTPTR_MAX >> (EDGEC_POOL_MAX_THREADS - groups));
  atomic_fetch_add(&pool->wakeup.word, 1);
  int sleepers = atomic_load(&pool->sleepers);
  if (wakes && sleepers > 0) edgec_event_wake(&pool->wakeup, sleepers < groups - 1 ? sleepers : groups - 1);

  work(pool, 0);
  if (!spin_until(is_done, pool)) {
    atomic_store(&pool->launcher_sleeps, true);
    uint32_t left;
    while ((left = atomic_load(&pool->pending.word)) != 0) edgec_event_wait(&pool->pending, left);
    atomic_store(&pool->launcher_sleeps, false);
  }
  return atomic_load(&pool->failed) ? -1 : 0;
}

void edgec_pool_destroy(edgec_pool *pool) {
  atomic_store(&pool->stop, true);
  atomic_fetch_add(&pool->wakeup.word, 1);
  edgec_event_wake(&pool->wakeup, pool->started);
  for (int i = 0; i < pool->started; ++i) (void)pthread_join(pool->workers[i].thread, NULL);
  edgec_event_destroy(&pool->wakeup);
  edgec_event_destroy(&pool->pending);
  free(pool);
}

void edgec_pool_abandon(edgec_pool *pool) { free(pool); }

int edgec_run_inline(FTVMParallelLambda fn, void *cdata, int32_t num_task) {
  atomic_bool failed;
  atomic_init(&failed, false);
  TVMParallelGroupEnv env = {&failed, num_task};
  for (int32_t task = 0; task < num_task; ++task) {
    if (fn(task, &env, cdata) != 0 || atomic_load(&failed)) return -1;
  }
  return 0;
}
