/* A hand-written stand-in for what the compiler generates: kernels in the style of TVM's, and a host program.
 * Tensors: FAKE_N floats (x -> y = (x * 2 + 1) summed up FAKE_ROUNDS times), `mode` (int32 scalar) chooses what else
 * happens, `empty` has no elements; outputs y, total (scalar), nothing (no elements). */
#define _GNU_SOURCE /* sched_getaffinity */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

#ifndef FAKE_N
#define FAKE_N 4096
#endif
#ifndef FAKE_ROUNDS
#define FAKE_ROUNDS 3
#endif
#ifndef FAKE_ARENA
#define FAKE_ARENA (FAKE_N * 4)
#endif
#ifndef FAKE_SCALE
#define FAKE_SCALE 2.0f
#endif
#ifndef FAKE_FAST_CORES
#define FAKE_FAST_CORES 0
#endif
#ifndef FAKE_UNPACKED
#define FAKE_UNPACKED 64
#endif
#ifndef FAKE_ABI
#define FAKE_ABI EDGEC_ABI
#endif

/* As TVM's generated objects declare them: weak, so that the runtime's definitions win. */
typedef struct {
  void *sync_handle;
  int32_t num_task;
} group_env;
typedef int (*task_fn)(int, group_env *, void *);
__attribute__((weak)) void *(*__TVMBackendAllocWorkspace)(int, int, uint64_t, int, int);
__attribute__((weak)) int (*__TVMBackendFreeWorkspace)(int, int, void *);
__attribute__((weak)) int (*__TVMBackendParallelLaunch)(task_fn, void *, int);
__attribute__((weak)) int (*__TVMBackendParallelBarrier)(int, group_env *);

enum { PLAIN = 0, FAIL = 1, TASK_FAILS = 2, BARRIER = 3, HUGE_WORKSPACE = 4, NESTED = 5, MANY_TASKS = 6, ONE_TASK = 7 };

struct span {
  const float *x;
  float *y;
  int mode;
};

static int nested_task(int id, group_env *env, void *data) {
  if (env->num_task != 5 || id < 0 || id >= 5) return -1;
  ((int *)data)[id] = 1;
  return 0;
}

static int scale_task(int id, group_env *env, void *data) {
  struct span *s = data;
  int chunk = (FAKE_N + env->num_task - 1) / env->num_task;
  int begin = id * chunk, end = begin + chunk < FAKE_N ? begin + chunk : FAKE_N;
  if (s->mode == TASK_FAILS && id == env->num_task - 1) return 7;
  if (s->mode == BARRIER) (void)__TVMBackendParallelBarrier(id, env); /* TVM ignores the result too */
  if (s->mode == HUGE_WORKSPACE && __TVMBackendAllocWorkspace(1, 0, UINT64_MAX - 5, 2, 32) == NULL) return -1;
  if (s->mode == NESTED) {
    int seen[5] = {0};
    if (__TVMBackendParallelLaunch(nested_task, seen, 5) != 0) return -1;
    if (seen[0] + seen[1] + seen[2] + seen[3] + seen[4] != 5) return -1;
  }
  if (begin >= end) return 0;
  size_t bytes = (size_t)(end - begin) * 4;
  float *scratch = __TVMBackendAllocWorkspace(1, 0, bytes, 2, 32);
  if (scratch == NULL || ((uintptr_t)scratch & 63) != 0) return -1;
  const uint8_t *weights = edgec_unpacked;
  for (int i = begin; i < end; ++i) scratch[i - begin] = s->x[i] * weights[0] + weights[1];
  for (int i = begin; i < end; ++i) s->y[i] = scratch[i - begin];
  return __TVMBackendFreeWorkspace(1, 0, scratch);
}

static int32_t scale(const float *x, float *y, int mode) {
  struct span s = {x, y, mode};
  return __TVMBackendParallelLaunch(scale_task, &s, mode == MANY_TASKS ? 1000 : 0);
}

static int count_task(int id, group_env *env, void *data) {
  (void)id;
  *(float *)data = (float)env->num_task;
  return 0;
}

static int32_t run(uint8_t *arena, const void *const *inputs, void *const *outputs, const char **failed,
                   uint64_t *ended) {
  float *tmp = (float *)(void *)arena, *y = outputs[0], *total = outputs[1];
  int32_t mode = *(const int32_t *)inputs[1];
  if (mode == FAIL) {
    *failed = "always_fails";
    return 42;
  }
  if (((uintptr_t)arena & 63) != 0) return 43;
  const float *x = inputs[0];
  for (int round = 0; round < FAKE_ROUNDS; ++round) {
    *failed = "scale";
    int32_t code = scale(x, tmp, mode);
    if (code != 0) return code;
    memcpy(y, tmp, sizeof(float) * FAKE_N);
    x = y;
    if (ended) ended[round] = edgec_now_ns();
  }
  *total = 0;
#ifdef FAKE_COUNTS_CPUS
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 44;
  *total = (float)CPU_COUNT(&set);
  return 0;
#endif
  if (mode == ONE_TASK) return __TVMBackendParallelLaunch(count_task, total, 1);
  for (int i = 0; i < FAKE_N; ++i) *total += y[i];
  return 0;
}

static const int64_t vector[] = {FAKE_N}, none[] = {0, 3};
static const edgec_tensor inputs[] = {
    {"x", EDGEC_FLOAT32, 1, vector, FAKE_N * 4}, {"mode", EDGEC_INT32, 0, NULL, 4}, {"empty", EDGEC_FLOAT64, 2, none, 0}};
static const edgec_tensor outputs[] = {
    {"y", EDGEC_FLOAT32, 1, vector, FAKE_N * 4}, {"total", EDGEC_FLOAT32, 0, NULL, 4}, {"nothing", EDGEC_INT8, 2, none, 0}};

static const edgec_version versions[] = {{inputs, outputs, run, FAKE_ROUNDS}};

#ifdef FAKE_DAMAGED
#define FAKE_PLANE 9 /* there is no such kind of plane */
#else
#define FAKE_PLANE 1 /* bytes as they are */
#endif
const uint8_t edgec_weights[11] = {FAKE_PLANE, (uint8_t)FAKE_SCALE, 1};
static const edgec_packed packed[] = {{0, 11, 0, 2, 1, 1, 0}};
static const uint32_t parts[] = {2};

const edgec_program edgec_program_ = {FAKE_ABI,        3, 3,             1,      versions, FAKE_ARENA,
                                      FAKE_FAST_CORES, 1, FAKE_UNPACKED, packed, parts};
