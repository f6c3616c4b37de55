/* The functions that kernels made by TVM call, through weak pointer variables which this file defines.
 * Signatures and meaning: TVM's include/tvm/runtime/c_backend_api.h. */
#include <stdlib.h>

#include "internal.h"

typedef void *(*alloc_workspace_fn)(int, int, uint64_t, int, int);
typedef int (*free_workspace_fn)(int, int, void *);
typedef int (*parallel_launch_fn)(FTVMParallelLambda, void *, int);
typedef int (*parallel_barrier_fn)(int, TVMParallelGroupEnv *);

/* Kept for the error text of the run; the first cause wins. */
static void note(const char *text) {
  edgec_current *current = edgec_current_get();
  const char *none = NULL;
  if (current) atomic_compare_exchange_strong(&current->context->detail, &none, text);
}

static void *alloc_workspace(int device_type, int device_id, uint64_t bytes, int code_hint, int bits_hint) {
  (void)device_type, (void)device_id, (void)code_hint, (void)bits_hint;
  void *memory = edgec_aligned_alloc(bytes);
  if (memory == NULL) note("not enough memory for its workspace");
  return memory;
}

static int free_workspace(int device_type, int device_id, void *memory) {
  (void)device_type, (void)device_id;
  free(memory);
  return 0;
}

static int parallel_launch(FTVMParallelLambda fn, void *cdata, int num_task) {
  edgec_current *current = edgec_current_get();
  int threads = current && !current->in_task ? current->context->placement.threads : 1;
  bool fixed = num_task > 0; /* else the kernel divides its work into as many tasks as it gets */
  if (threads == 1 || num_task == 1) return edgec_run_inline(fn, cdata, fixed ? num_task : 1);
  edgec_context *context = current->context;
  if (context->pool == NULL) context->pool = edgec_pool_create(context, threads);
  if (context->pool == NULL) return edgec_run_inline(fn, cdata, fixed ? num_task : 1);
  current->in_task = true;
  int code = edgec_pool_launch(context->pool, fn, cdata, num_task);
  current->in_task = false;
  return code;
}

/* A barrier needs all tasks of a launch under way at once. Here tasks are claimed one after the other by however many
 * threads come in time, perhaps by the caller alone, so waiting could last for ever: refuse. TVM's generated code
 * ignores the result, hence the flag, which fails the launch. */
static int parallel_barrier(int task_id, TVMParallelGroupEnv *env) {
  (void)task_id;
  if (env->num_task == 1) return 0;
  note("it uses a barrier between parallel tasks, which this runtime does not provide");
  atomic_store((atomic_bool *)env->sync_handle, true);
  return -1;
}

EDGEC_HIDDEN alloc_workspace_fn __TVMBackendAllocWorkspace = alloc_workspace;
EDGEC_HIDDEN free_workspace_fn __TVMBackendFreeWorkspace = free_workspace;
EDGEC_HIDDEN parallel_launch_fn __TVMBackendParallelLaunch = parallel_launch;
EDGEC_HIDDEN parallel_barrier_fn __TVMBackendParallelBarrier = parallel_barrier;
