/* Contexts: create, run, destroy, and the texts of their errors.
 * No file of the runtime calls an exported function: with several models in a process it could reach another one's. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"

static edgec_status fail_create(edgec_status status, const char *text) {
  edgec_thread_error_set(text);
  return status;
}

__attribute__((cold)) /* called once: rather small than fast */
edgec_status edgec_create(int threads, const char *affinity, edgec_context **out) {
  if (out == NULL) return fail_create(EDGEC_INVALID_ARGUMENT, "edgec_create: `out` is NULL");
  *out = NULL;
  if (!edgec_keys_ready()) return EDGEC_SYSTEM_ERROR;
  if (edgec_program_.abi != EDGEC_ABI) {
    return fail_create(EDGEC_INCOMPATIBLE,
                       "the model's program and the runtime linked with it differ in version: compile it again");
  }
  if (threads < 0) {
    return fail_create(EDGEC_INVALID_ARGUMENT, "edgec_create: `threads` is negative; give 0 for the default");
  }
  edgec_placement placement;
  const char *error = edgec_place("/sys", threads, affinity, edgec_program_.fast_cores, &placement);
  if (error != NULL) return fail_create(EDGEC_INVALID_ARGUMENT, error);
  if (placement.binds && (placement.asked || placement.threads > 1) && !edgec_can_bind(&placement.cpus)) {
    placement.binds = false;
    placement.warning = "the system refuses to bind threads to CPUs: they run wherever it puts them";
  }
  edgec_context *ctx = calloc(1, sizeof *ctx);
  if (ctx == NULL) return fail_create(EDGEC_OUT_OF_MEMORY, "not enough memory for a context");
  ctx->arena = edgec_aligned_alloc(edgec_program_.arena_bytes);
  if (ctx->arena == NULL) {
    free(ctx);
    return fail_create(EDGEC_OUT_OF_MEMORY,
                       "not enough memory for the model's intermediate tensors (memory.arena_bytes in its manifest)");
  }
  edgec_status held = edgec_weights_hold();
  if (held != EDGEC_OK) {
    free(ctx->arena);
    free(ctx);
    return fail_create(held, held == EDGEC_OUT_OF_MEMORY
                                 ? "not enough memory for the model's weights (memory.unpacked_bytes in its manifest)"
                                 : "the model's weights are damaged: compile it again");
  }
  ctx->placement = placement;
  ctx->version = &edgec_program_.versions[edgec_program_.num_versions - 1];
  ctx->took_ns = UINT64_MAX; /* not known yet */
  atomic_init(&ctx->owner, 0);
  atomic_init(&ctx->detail, NULL);
  *out = ctx;
  return EDGEC_OK;
}

/* The context's right to run, unless a thread of this process has it. A run that was under way in another thread when
 * the process forked will never end in the child, so the child takes its place. */
static bool acquire(edgec_context *ctx, int process) {
  int owner = atomic_load(&ctx->owner);
  return owner != process && atomic_compare_exchange_strong(&ctx->owner, &owner, process);
}

static void drop_inherited_pool(edgec_context *ctx, int process) {
  if (ctx->pool != NULL && ctx->pool_owner != process) {
    edgec_pool_abandon(ctx->pool);
    ctx->pool = NULL;
  }
  ctx->pool_owner = process;
}

static edgec_status check_buffer(edgec_context *ctx, const char *kind, const edgec_tensor *tensor, const void *buffer) {
  if (tensor->bytes == 0) return EDGEC_OK;
  if (buffer == NULL) {
    snprintf(ctx->error, sizeof ctx->error, "%s '%.100s' is NULL", kind, tensor->name);
    return EDGEC_INVALID_ARGUMENT;
  }
  if (((uintptr_t)buffer & (EDGEC_ALIGNMENT - 1)) != 0) {
    snprintf(ctx->error, sizeof ctx->error,
             "%s '%.100s' is at %p, which is not %d-byte aligned: get its memory from aligned_alloc, or copy it",
             kind, tensor->name, (void *)(uintptr_t)buffer, EDGEC_ALIGNMENT);
    return EDGEC_MISALIGNED;
  }
  return EDGEC_OK;
}

/* Kernels may write an output before they have read every input, so shared memory would give wrong numbers. */
static edgec_status check_apart(edgec_context *ctx, const edgec_tensor *output, const void *out, const char *kind,
                                const edgec_tensor *other, const void *buffer) {
  uintptr_t a = (uintptr_t)out, b = (uintptr_t)buffer;
  if (output->bytes == 0 || other->bytes == 0) return EDGEC_OK;
  if (a < b ? b - a >= output->bytes : a - b >= other->bytes) return EDGEC_OK;
  snprintf(ctx->error, sizeof ctx->error, "output '%.80s' overlaps %s '%.80s': give it memory of its own", output->name,
           kind, other->name);
  return EDGEC_INVALID_ARGUMENT;
}

static edgec_status check_buffers(edgec_context *ctx, const void *const *inputs, void *const *outputs) {
  const edgec_program *p = &edgec_program_;
  const edgec_version *v = ctx->version;
  edgec_status status = EDGEC_OK;
  if ((inputs == NULL && p->num_inputs > 0) || (outputs == NULL && p->num_outputs > 0)) {
    const char *which = inputs == NULL && p->num_inputs > 0 ? "inputs" : "outputs";
    snprintf(ctx->error, sizeof ctx->error, "edgec_run: the array of %s is NULL", which);
    return EDGEC_INVALID_ARGUMENT;
  }
  for (uint32_t i = 0; i < p->num_inputs && !status; ++i) status = check_buffer(ctx, "input", &v->inputs[i], inputs[i]);
  for (uint32_t o = 0; o < p->num_outputs && !status; ++o) {
    status = check_buffer(ctx, "output", &v->outputs[o], outputs[o]);
    for (uint32_t i = 0; i < p->num_inputs && !status; ++i) {
      status = check_apart(ctx, &v->outputs[o], outputs[o], "input", &v->inputs[i], inputs[i]);
    }
    for (uint32_t i = 0; i < o && !status; ++i) {
      status = check_apart(ctx, &v->outputs[o], outputs[o], "output", &v->outputs[i], outputs[i]);
    }
  }
  return status;
}

/* Waking a worker costs the launching thread several microseconds, and the worker takes more to come. A short run pays
 * that only if another one has just ended: if this goes on, the workers will still be awake for the next. */
static void begin_launches(edgec_context *ctx, uint64_t now) {
  ctx->wakes = ctx->took_ns > EDGEC_SHORT_RUN_NS || now - ctx->ended_ns < EDGEC_SPIN_NS;
}

static void end_launches(edgec_context *ctx, uint64_t began) {
  if (ctx->pool == NULL) return;
  ctx->ended_ns = edgec_now_ns();
  ctx->took_ns = ctx->ended_ns - began;
}

static edgec_status run_program(edgec_context *ctx, const void *const *inputs, void *const *outputs,
                                uint64_t *nanoseconds) {
  edgec_current current = {ctx, false};
  edgec_current *outer = edgec_current_get();
  const char *failed_kernel = NULL;
  atomic_store(&ctx->detail, NULL);
  edgec_current_set(&current);
  uint64_t before = nanoseconds || ctx->placement.threads > 1 ? edgec_now_ns() : 0;
  begin_launches(ctx, before);
  int32_t code = ctx->version->run(ctx->arena, inputs, outputs, &failed_kernel, nanoseconds);
  end_launches(ctx, before);
  edgec_current_set(outer);
  if (code == 0) {
    for (uint32_t i = 0; nanoseconds && i < ctx->version->num_steps; ++i) {
      uint64_t ended = nanoseconds[i];
      nanoseconds[i] = ended - before;
      before = ended;
    }
    return EDGEC_OK;
  }
  const char *detail = atomic_load(&ctx->detail);
  snprintf(ctx->error, sizeof ctx->error, "kernel '%.100s' failed with code %d%s%s",
           failed_kernel ? failed_kernel : "?", (int)code, detail ? ": " : "", detail ? detail : "");
  return EDGEC_KERNEL_FAILED;
}

static bool has_shapes(const edgec_version *version, const int64_t *const *shapes) {
  for (uint32_t i = 0; i < edgec_program_.num_inputs; ++i) {
    for (int32_t axis = 0; axis < version->inputs[i].rank; ++axis) {
      if (shapes[i][axis] != version->inputs[i].shape[axis]) return false;
    }
  }
  return true;
}

static bool names_all_sizes(const int64_t *const *shapes) {
  if (shapes == NULL) return edgec_program_.num_inputs == 0;
  for (uint32_t i = 0; i < edgec_program_.num_inputs; ++i) {
    if (shapes[i] == NULL && edgec_program_.versions[0].inputs[i].rank > 0) return false;
  }
  return true;
}

edgec_status edgec_set_shapes(edgec_context *ctx, const int64_t *const *shapes) {
  if (ctx == NULL) return fail_create(EDGEC_INVALID_ARGUMENT, "edgec_set_shapes: the context is NULL");
  if (!acquire(ctx, (int)getpid())) return EDGEC_BUSY;
  edgec_status status = EDGEC_INVALID_ARGUMENT;
  snprintf(ctx->error, sizeof ctx->error, "the model was not compiled for these shapes (`shapes` in its manifest)");
  for (uint32_t i = 0; names_all_sizes(shapes) && i < edgec_program_.num_versions && status; ++i) {
    if (!has_shapes(&edgec_program_.versions[i], shapes)) continue;
    ctx->version = &edgec_program_.versions[i];
    ctx->error[0] = '\0';
    status = EDGEC_OK;
  }
  atomic_store(&ctx->owner, 0);
  return status;
}

const edgec_tensor *edgec_context_input(const edgec_context *ctx, uint32_t index) {
  return ctx && index < edgec_program_.num_inputs ? &ctx->version->inputs[index] : NULL;
}

const edgec_tensor *edgec_context_output(const edgec_context *ctx, uint32_t index) {
  return ctx && index < edgec_program_.num_outputs ? &ctx->version->outputs[index] : NULL;
}

static edgec_status run(edgec_context *ctx, const void *const *inputs, void *const *outputs, uint64_t *nanoseconds) {
  if (ctx == NULL) return fail_create(EDGEC_INVALID_ARGUMENT, "edgec_run: the context is NULL");
  int process = (int)getpid();
  if (!acquire(ctx, process)) return EDGEC_BUSY; /* no text: ctx->error belongs to the thread that runs */
  drop_inherited_pool(ctx, process);
  ctx->error[0] = '\0';
  edgec_status status = check_buffers(ctx, inputs, outputs);
  if (status == EDGEC_OK) {
    const edgec_placement *placement = &ctx->placement;
    edgec_cpus before;
    bool moved = placement->asked && placement->binds && edgec_bind_for_a_run(&placement->cpus, &before);
    status = run_program(ctx, inputs, outputs, nanoseconds);
    if (moved) (void)edgec_bind(&before);
  }
  atomic_store(&ctx->owner, 0);
  return status;
}

edgec_status edgec_run(edgec_context *ctx, const void *const *inputs, void *const *outputs) {
  return run(ctx, inputs, outputs, NULL);
}

edgec_status edgec_profile(edgec_context *ctx, const void *const *inputs, void *const *outputs, uint64_t *nanoseconds) {
  return run(ctx, inputs, outputs, nanoseconds);
}

int edgec_num_threads(const edgec_context *ctx) { return ctx ? ctx->placement.threads : 0; }

const char *edgec_warning(const edgec_context *ctx) {
  return ctx && ctx->placement.warning ? ctx->placement.warning : "";
}

edgec_status edgec_destroy(edgec_context *ctx) {
  if (ctx == NULL) return EDGEC_OK;
  int process = (int)getpid();
  if (!acquire(ctx, process)) return EDGEC_BUSY;
  drop_inherited_pool(ctx, process);
  if (ctx->pool != NULL) edgec_pool_destroy(ctx->pool);
  edgec_weights_release();
  free(ctx->arena);
  free(ctx);
  return EDGEC_OK;
}

const char *edgec_last_error(const edgec_context *ctx) {
  if (ctx == NULL) return edgec_thread_error_get();
  if (atomic_load(&((edgec_context *)ctx)->owner) == (int)getpid()) {
    return "the context is busy: another thread is running it; make one context for each thread";
  }
  return ctx->error;
}
