/* Drives the C API: misuse, errors, many contexts in many threads, one context in many threads, fork.
 * Usage: api_test fork|quiet-fork|no-fork. Prints "ok" and exits with 0 if everything held.
 * quiet-fork: no fork while another thread runs. */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "edgec.h"

#define N 4096
#define CHECK(condition)                                                                    \
  do {                                                                                      \
    if (!(condition)) {                                                                     \
      fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);         \
      abort();                                                                              \
    }                                                                                       \
  } while (0)

typedef struct {
  float *x, *y, *total;
  int32_t *mode;
  const void *inputs[3];
  void *outputs[3];
} buffers;

static void *aligned(size_t bytes) {
  void *memory = NULL;
  CHECK(posix_memalign(&memory, 64, bytes) == 0);
  memset(memory, 0, bytes);
  return memory;
}

static void fill(buffers *b, int mode, int seed) {
  b->x = aligned(N * 4), b->y = aligned(N * 4), b->total = aligned(64), b->mode = aligned(64);
  for (int i = 0; i < N; ++i) b->x[i] = (float)((i * 7 + seed * 13) % 101);
  *b->mode = mode;
  b->inputs[0] = b->x, b->inputs[1] = b->mode, b->inputs[2] = NULL; /* no bytes: NULL is allowed */
  b->outputs[0] = b->y, b->outputs[1] = b->total, b->outputs[2] = NULL;
}

static void drop(buffers *b) { free(b->x), free(b->y), free(b->total), free(b->mode); }

static int right(const buffers *b) {
  for (int i = 0; i < N; ++i) {
    if (b->y[i] != ((b->x[i] * 2 + 1) * 2 + 1) * 2 + 1) return 0;
  }
  return 1;
}

static edgec_context *create(int threads) {
  edgec_context *ctx = NULL;
  CHECK(edgec_create(threads, NULL, &ctx) == EDGEC_OK && ctx != NULL);
  CHECK(strcmp(edgec_last_error(ctx), "") == 0);
  return ctx;
}

static void test_description(void) {
  CHECK(edgec_abi_version() == EDGEC_ABI);
  CHECK(edgec_manifest()[0] == '{');
  CHECK(edgec_num_inputs() == 3 && edgec_num_outputs() == 3);
  CHECK(strcmp(edgec_input(0)->name, "x") == 0 && edgec_input(0)->dtype == EDGEC_FLOAT32);
  CHECK(edgec_input(1)->rank == 0 && edgec_input(2)->bytes == 0 && edgec_output(0)->shape[0] == N);
  CHECK(edgec_input(3) == NULL && edgec_output(3) == NULL && edgec_output(UINT32_MAX) == NULL);
}

static void test_shapes(void) {
  const int64_t right_size[] = {N}, wrong_size[] = {N / 2}, none[] = {0, 3};
  const int64_t *fits[] = {right_size, NULL, none}, *other[] = {wrong_size, NULL, none}, *missing[] = {NULL, NULL, none};
  edgec_context *ctx = create(1);
  CHECK(edgec_set_shapes(ctx, fits) == EDGEC_OK);
  CHECK(edgec_set_shapes(ctx, other) == EDGEC_INVALID_ARGUMENT && strstr(edgec_last_error(ctx), "these shapes"));
  CHECK(edgec_set_shapes(ctx, missing) == EDGEC_INVALID_ARGUMENT);
  CHECK(edgec_set_shapes(ctx, NULL) == EDGEC_INVALID_ARGUMENT && edgec_set_shapes(NULL, fits) == EDGEC_INVALID_ARGUMENT);
  CHECK(edgec_context_input(ctx, 0)->shape[0] == N && edgec_context_output(ctx, 0)->bytes == N * 4);
  CHECK(edgec_context_input(ctx, 3) == NULL && edgec_context_output(NULL, 0) == NULL);
  CHECK(edgec_set_shapes(ctx, fits) == EDGEC_OK && strcmp(edgec_last_error(ctx), "") == 0);
  CHECK(edgec_destroy(ctx) == EDGEC_OK);
}

static void test_misuse(void) {
  edgec_context *ctx = (edgec_context *)8;
  CHECK(edgec_create(2, NULL, NULL) == EDGEC_INVALID_ARGUMENT && strstr(edgec_last_error(NULL), "NULL"));
  CHECK(edgec_create(-1, NULL, &ctx) == EDGEC_INVALID_ARGUMENT && ctx == NULL);
  CHECK(strstr(edgec_last_error(NULL), "negative"));
  setenv("EDGEC_THREADS", "many", 1);
  CHECK(edgec_create(0, NULL, &ctx) == EDGEC_INVALID_ARGUMENT && strstr(edgec_last_error(NULL), "EDGEC_THREADS"));
  setenv("EDGEC_THREADS", "3", 1);
  ctx = create(0);
  CHECK(edgec_num_threads(ctx) == 3 && edgec_num_threads(NULL) == 0);
  CHECK(edgec_destroy(ctx) == EDGEC_OK);
  unsetenv("EDGEC_THREADS");
  CHECK(edgec_destroy(NULL) == EDGEC_OK);
  CHECK(edgec_run(NULL, NULL, NULL) == EDGEC_INVALID_ARGUMENT && strstr(edgec_last_error(NULL), "context is NULL"));

  buffers b;
  fill(&b, 0, 0);
  ctx = create(2);
  CHECK(edgec_run(ctx, NULL, b.outputs) == EDGEC_INVALID_ARGUMENT && strstr(edgec_last_error(ctx), "inputs is NULL"));
  CHECK(edgec_run(ctx, b.inputs, NULL) == EDGEC_INVALID_ARGUMENT && strstr(edgec_last_error(ctx), "outputs is NULL"));
  b.inputs[0] = NULL;
  CHECK(edgec_run(ctx, b.inputs, b.outputs) == EDGEC_INVALID_ARGUMENT && strstr(edgec_last_error(ctx), "'x' is NULL"));
  b.inputs[0] = (char *)b.x + 4;
  CHECK(edgec_run(ctx, b.inputs, b.outputs) == EDGEC_MISALIGNED && strstr(edgec_last_error(ctx), "input 'x'"));
  b.inputs[0] = b.x, b.outputs[1] = (char *)b.total + 8;
  CHECK(edgec_run(ctx, b.inputs, b.outputs) == EDGEC_MISALIGNED && strstr(edgec_last_error(ctx), "output 'total'"));
  b.outputs[1] = b.y + N - 16;
  CHECK(edgec_run(ctx, b.inputs, b.outputs) == EDGEC_INVALID_ARGUMENT);
  CHECK(strstr(edgec_last_error(ctx), "output 'total' overlaps output 'y'"));
  b.outputs[1] = b.total, b.outputs[0] = b.x;
  CHECK(edgec_run(ctx, b.inputs, b.outputs) == EDGEC_INVALID_ARGUMENT);
  CHECK(strstr(edgec_last_error(ctx), "output 'y' overlaps input 'x'"));
  b.outputs[0] = b.y;
  CHECK(edgec_run(ctx, b.inputs, b.outputs) == EDGEC_OK && right(&b) && strcmp(edgec_last_error(ctx), "") == 0);
  *b.mode = 1;
  CHECK(edgec_run(ctx, b.inputs, b.outputs) == EDGEC_KERNEL_FAILED);
  CHECK(strstr(edgec_last_error(ctx), "kernel 'always_fails' failed with code 42"));
  for (int mode = 2; mode <= 4; ++mode) {
    *b.mode = mode;
    CHECK(edgec_run(ctx, b.inputs, b.outputs) == EDGEC_KERNEL_FAILED && strstr(edgec_last_error(ctx), "'scale'"));
  }
  *b.mode = 0;
  CHECK(edgec_run(ctx, b.inputs, b.outputs) == EDGEC_OK && right(&b));
  CHECK(edgec_destroy(ctx) == EDGEC_OK);
  drop(&b);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void test_profile(void) {
  enum { STEPS = 3 }; /* FAKE_ROUNDS */
  uint64_t took[STEPS + 1], begin = now_ns(), sum = 0;
  memset(took, 0xff, sizeof took);
  buffers b;
  fill(&b, 0, 3);
  edgec_context *ctx = create(2);
  CHECK(edgec_profile(ctx, b.inputs, b.outputs, took) == EDGEC_OK && right(&b));
  for (int i = 0; i < STEPS; ++i) sum += took[i];
  CHECK(took[0] > 0 && sum <= now_ns() - begin);
  CHECK(took[STEPS] == UINT64_MAX); /* nothing is written beyond the last */
  CHECK(edgec_profile(ctx, b.inputs, b.outputs, NULL) == EDGEC_OK && right(&b));
  *b.mode = 1;
  CHECK(edgec_profile(ctx, b.inputs, b.outputs, took) == EDGEC_KERNEL_FAILED);
  CHECK(edgec_destroy(ctx) == EDGEC_OK);
  drop(&b);
}

static void *run_own_context(void *argument) {
  int index = (int)(intptr_t)argument;
  for (int round = 0; round < 3; ++round) {
    edgec_context *ctx = create(1 + index % 4);
    for (int i = 0; i < 20; ++i) {
      static const int modes[] = {0, 5, 6, 2};
      buffers b;
      fill(&b, modes[i % 4], i + index);
      edgec_status status = edgec_run(ctx, b.inputs, b.outputs);
      if (modes[i % 4] == 2) {
        CHECK(status == EDGEC_KERNEL_FAILED);
      } else {
        CHECK(status == EDGEC_OK && right(&b));
      }
      drop(&b);
    }
    CHECK(edgec_destroy(ctx) == EDGEC_OK);
  }
  return NULL;
}

static edgec_context *shared;
static atomic_int done, busy;

static void *run_shared_context(void *argument) {
  buffers b;
  fill(&b, 0, (int)(intptr_t)argument);
  for (int i = 0; i < 200; ++i) {
    edgec_status status = edgec_run(shared, b.inputs, b.outputs);
    CHECK(status == EDGEC_OK || status == EDGEC_BUSY);
    CHECK(status == EDGEC_BUSY || right(&b));
    atomic_fetch_add(status == EDGEC_OK ? &done : &busy, 1);
  }
  drop(&b);
  return NULL;
}

static void in_threads(void *(*body)(void *), int count) {
  pthread_t threads[16];
  for (int i = 0; i < count; ++i) CHECK(pthread_create(&threads[i], NULL, body, (void *)(intptr_t)i) == 0);
  for (int i = 0; i < count; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
}

static atomic_bool stop;

static void *run_until_stop(void *argument) {
  (void)argument;
  buffers b;
  fill(&b, 6, 1);
  while (!atomic_load(&stop)) CHECK(edgec_run(shared, b.inputs, b.outputs) == EDGEC_OK && right(&b));
  drop(&b);
  return NULL;
}

static int count_threads(void) {
  int count = 0;
  DIR *tasks = opendir("/proc/self/task");
  CHECK(tasks != NULL);
  for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) count += entry->d_name[0] != '.';
  closedir(tasks);
  return count;
}

static void run_in_child(edgec_context *ctx) {
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(20);
    buffers b;
    fill(&b, 0, 5);
    CHECK(count_threads() == 1);
    for (int i = 0; i < 3; ++i) CHECK(edgec_run(ctx, b.inputs, b.outputs) == EDGEC_OK && right(&b));
    CHECK(count_threads() == edgec_num_threads(ctx)); /* a pool of its own */
    CHECK(edgec_destroy(ctx) == EDGEC_OK);
    while (count_threads() != 1) usleep(1000); /* /proc may show a joined thread for a moment more */
    drop(&b);
    _exit(0);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_fork(bool quiet) {
  shared = create(3);
  run_in_child(shared); /* before the first run */
  buffers b;
  fill(&b, 0, 1);
  CHECK(edgec_run(shared, b.inputs, b.outputs) == EDGEC_OK && right(&b));
  run_in_child(shared);
  if (!quiet) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run_until_stop, NULL) == 0);
    for (int i = 0; i < 30; ++i) run_in_child(shared); /* while another thread runs it */
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
  }
  CHECK(edgec_run(shared, b.inputs, b.outputs) == EDGEC_OK && right(&b));
  CHECK(edgec_destroy(shared) == EDGEC_OK);
  drop(&b);
}

int main(int argc, char **argv) {
  CHECK(argc == 2);
  test_description();
  test_shapes();
  test_misuse();
  test_profile();
  in_threads(run_own_context, 6);
  shared = create(2);
  in_threads(run_shared_context, 4);
  CHECK(atomic_load(&done) > 0 && atomic_load(&done) + atomic_load(&busy) == 800);
  CHECK(edgec_destroy(shared) == EDGEC_OK);
  if (strcmp(argv[1], "no-fork") != 0) test_fork(strcmp(argv[1], "quiet-fork") == 0);
  puts("ok");
  return 0;
}
