/* The C API of an edgec model: one shared object holds one compiled model, its weights and this runtime.
 *
 * Use it by linking with the object, or with dlopen(path, RTLD_NOW | RTLD_LOCAL) and dlsym: every model exports the
 * same names, so several models in one process need dlopen.
 *
 *     edgec_context *ctx;
 *     if (edgec_create(0, NULL, &ctx) != EDGEC_OK) { puts(edgec_last_error(NULL)); return 1; }
 *     const void *inputs[] = {x};             // one pointer an input, in the order of edgec_input(0), (1), ...
 *     void *outputs[] = {y};
 *     if (edgec_run(ctx, inputs, outputs) != EDGEC_OK) puts(edgec_last_error(ctx));
 *     edgec_destroy(ctx);
 *
 * Threads: a context runs one inference at a time. Any number of contexts may exist and run at once, each from its own
 * thread; they share nothing but the read-only weights. Fork: a child process may go on using, or destroy, contexts
 * made before the fork. Before dlclose, destroy every context.
 */
#ifndef EDGEC_H_
#define EDGEC_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EDGEC_ABI 3       /* version of the functions and types of this header */
#define EDGEC_ALIGNMENT 64 /* bytes; what every input's and output's address must be a multiple of */

#if defined(__GNUC__) || defined(__clang__)
#define EDGEC_API __attribute__((visibility("default")))
#else
#define EDGEC_API
#endif

typedef enum edgec_status {
  EDGEC_OK = 0,
  EDGEC_INVALID_ARGUMENT = 1, /* a NULL pointer, a bad thread count, buffers that overlap */
  EDGEC_MISALIGNED = 2,       /* an input or output is not 64-byte aligned */
  EDGEC_OUT_OF_MEMORY = 3,
  EDGEC_BUSY = 4,             /* another thread is running this context */
  EDGEC_KERNEL_FAILED = 5,    /* the outputs hold no valid result; the context stays usable */
  EDGEC_INCOMPATIBLE = 6,     /* model and runtime in this object do not belong together */
  EDGEC_SYSTEM_ERROR = 7      /* the operating system refused a resource */
} edgec_status;

typedef enum edgec_dtype {
  EDGEC_BOOL = 1, /* one byte, 0 or 1 */
  EDGEC_INT8 = 2,
  EDGEC_INT16 = 3,
  EDGEC_INT32 = 4,
  EDGEC_INT64 = 5,
  EDGEC_UINT8 = 6,
  EDGEC_UINT16 = 7,
  EDGEC_UINT32 = 8,
  EDGEC_UINT64 = 9,
  EDGEC_FLOAT16 = 10,
  EDGEC_FLOAT32 = 11,
  EDGEC_FLOAT64 = 12,
  EDGEC_BFLOAT16 = 13
} edgec_dtype;

/* One input or output: dense, row-major, native byte order. Static data, valid while the object is loaded. */
typedef struct edgec_tensor {
  const char *name; /* the model's own name, UTF-8 */
  edgec_dtype dtype;
  int32_t rank;         /* 0 for a scalar */
  const int64_t *shape; /* rank entries; NULL allowed when rank is 0 */
  size_t bytes;         /* of the whole tensor; 0 if a dimension is 0 */
} edgec_tensor;

typedef struct edgec_context edgec_context;

/* EDGEC_ABI of the loaded object. Compare with the header's before any other call. */
EDGEC_API int edgec_abi_version(void);

/* The manifest: a JSON object, UTF-8, NUL-terminated, possibly followed by spaces. */
EDGEC_API const char *edgec_manifest(void);

EDGEC_API uint32_t edgec_num_inputs(void);
EDGEC_API uint32_t edgec_num_outputs(void);

/* The index-th input or output; NULL if there is none. A model that was compiled for several shapes gives the largest. */
EDGEC_API const edgec_tensor *edgec_input(uint32_t index);
EDGEC_API const edgec_tensor *edgec_output(uint32_t index);

/* Makes a context: its working memory, and the right to use `threads` threads (the caller of edgec_run is one of them).
 * threads 0: the environment's EDGEC_THREADS, else the CPUs that `affinity` names, at most the target's fast cores and
 * a container's quota. 1: never starts a thread. At most 64 are used (32 on 32-bit machines). Worker threads start at
 * the first kernel that needs them.
 * affinity: `big`, `little`, `all`, or CPUs by number as in "0,2-3"; those that this process may not use are left out.
 * The workers are bound to these CPUs, and the caller of edgec_run is while a run lasts. NULL: the environment's
 * EDGEC_AFFINITY, else the workers are bound to the big cores if the CPUs differ in speed, and the caller to none.
 * On failure *out is NULL and edgec_last_error(NULL) on this thread says why.
 */
EDGEC_API edgec_status edgec_create(int threads, const char *affinity, edgec_context **out);

/* What could not be done as asked, though the context works: a sentence on binding threads to CPUs, or "". */
EDGEC_API const char *edgec_warning(const edgec_context *ctx);

/* For a model that was compiled for several shapes: chooses those of the next runs; a new context has the largest.
 * shapes: for each input an array of as many sizes as its rank; NULL for one of rank 0. EDGEC_INVALID_ARGUMENT, and
 * nothing changes, if the model was not compiled for these.
 * A model whose manifest has `rows` treats every row by itself: any number of them can be run in blocks of the sizes in
 * `shapes`, one after the other. `rows` is the axis of the rows in each output; in inputs it is the first. */
EDGEC_API edgec_status edgec_set_shapes(edgec_context *ctx, const int64_t *const *shapes);

/* The index-th input or output of the shapes that were chosen; NULL if there is none. */
EDGEC_API const edgec_tensor *edgec_context_input(const edgec_context *ctx, uint32_t index);
EDGEC_API const edgec_tensor *edgec_context_output(const edgec_context *ctx, uint32_t index);

/* Runs the model once. inputs, outputs: one pointer a tensor, edgec_tensor.bytes long, 64-byte aligned; outputs overlap
 * neither the inputs nor one another. An array may be NULL if it has no entries, a pointer if its tensor has no bytes.
 * Outputs are undefined after an error. Returns EDGEC_BUSY, and does nothing, if another thread runs this context.
 */
EDGEC_API edgec_status edgec_run(edgec_context *ctx, const void *const *inputs, void *const *outputs);

/* As edgec_run; nanoseconds[i] gets how long the i-th step took. What the steps are, the manifest's array `steps` says
 * (that of the entry of `shapes` for the shapes that were chosen, if there are several):
 * for each the index of a kernel in `kernels`, -1 for a copy, or -2 for control flow. nanoseconds may be NULL. */
EDGEC_API edgec_status edgec_profile(edgec_context *ctx, const void *const *inputs, void *const *outputs,
                                     uint64_t *nanoseconds);

/* How many threads a run may use, the caller's included. */
EDGEC_API int edgec_num_threads(const edgec_context *ctx);

/* Ends the workers and frees everything. NULL is allowed. EDGEC_BUSY, and nothing freed, if a run is under way. */
EDGEC_API edgec_status edgec_destroy(edgec_context *ctx);

/* One sentence on the last failed call on `ctx`, "" if it succeeded; valid until the next call on it.
 * ctx NULL: on this thread's last failed call that had no context (edgec_create, or a NULL context). */
EDGEC_API const char *edgec_last_error(const edgec_context *ctx);

#ifdef __cplusplus
}
#endif
#endif /* EDGEC_H_ */
