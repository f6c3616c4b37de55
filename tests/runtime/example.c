/* How a C program uses models: the one it is linked with, and another through dlopen.
 * Build:  cc example.c ./model.so -ldl -o example        Run:  ./example other_model.so */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgec.h"

typedef struct {
  uint32_t (*num_inputs)(void), (*num_outputs)(void);
  const edgec_tensor *(*input)(uint32_t), *(*output)(uint32_t);
  edgec_status (*create)(int, const char *, edgec_context **);
  edgec_status (*run)(edgec_context *, const void *const *, void *const *);
  edgec_status (*destroy)(edgec_context *);
  const char *(*last_error)(const edgec_context *);
} model;

static void *buffer(const edgec_tensor *tensor) {
  void *memory = aligned_alloc(EDGEC_ALIGNMENT, (tensor->bytes + EDGEC_ALIGNMENT) / EDGEC_ALIGNMENT * EDGEC_ALIGNMENT);
  if (memory == NULL) abort();
  memset(memory, 0, tensor->bytes);
  return memory;
}

/* Runs the model on zeros and prints the first number of the first output. */
static int run_once(const char *title, const model *m) {
  void *inputs[8], *outputs[8];
  uint32_t num_inputs = m->num_inputs(), num_outputs = m->num_outputs();
  edgec_context *ctx;
  if (num_inputs > 8 || num_outputs > 8) return 1;
  for (uint32_t i = 0; i < num_inputs; ++i) inputs[i] = buffer(m->input(i));
  for (uint32_t i = 0; i < num_outputs; ++i) outputs[i] = buffer(m->output(i));
  if (m->create(2, NULL, &ctx) != EDGEC_OK) {
    printf("%s: %s\n", title, m->last_error(NULL));
    return 1;
  }
  int failed = m->run(ctx, (const void *const *)inputs, outputs) != EDGEC_OK;
  printf("%s: %s = %g%s\n", title, m->output(0)->name, (double)*(float *)outputs[0], m->last_error(ctx));
  m->destroy(ctx);
  for (uint32_t i = 0; i < num_inputs; ++i) free(inputs[i]);
  for (uint32_t i = 0; i < num_outputs; ++i) free(outputs[i]);
  return failed;
}

int main(int argc, char **argv) {
  model linked = {edgec_num_inputs, edgec_num_outputs, edgec_input,   edgec_output,
                  edgec_create,     edgec_run,         edgec_destroy, edgec_last_error};
  if (run_once("linked", &linked) != 0 || argc < 2) return argc < 2 ? 0 : 1;

  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    puts(dlerror());
    return 1;
  }
  model opened;
  const char *names[] = {"edgec_num_inputs", "edgec_num_outputs", "edgec_input",   "edgec_output",
                         "edgec_create",     "edgec_run",         "edgec_destroy", "edgec_last_error"};
  void *symbols[8];
  for (int i = 0; i < 8; ++i) {
    if ((symbols[i] = dlsym(library, names[i])) == NULL) return 1;
  }
  memcpy(&opened, symbols, sizeof opened);
  int failed = run_once("opened", &opened);
  return dlclose(library) != 0 || failed;
}
