/* What belongs to a thread: the context it is running, and its last error without a context. */
#include <pthread.h>

#include "internal.h"

static pthread_key_t current_key, error_key;
static bool ready;

/* Keys hold pointers to stack records and string literals, so they need no destructor function, which could
 * otherwise be called after dlclose has unmapped it. */
__attribute__((constructor)) static void make_keys(void) {
  if (pthread_key_create(&current_key, NULL) != 0) return;
  if (pthread_key_create(&error_key, NULL) != 0) {
    pthread_key_delete(current_key);
    return;
  }
  ready = true;
}

/* A process has few keys (1024 on Linux), so programs that load and close many models need them back. `ready` stays:
 * at process exit other threads may still be running, and a deleted key then reads as NULL. */
__attribute__((destructor)) static void delete_keys(void) {
  if (!ready) return;
  pthread_key_delete(current_key);
  pthread_key_delete(error_key);
}

bool edgec_keys_ready(void) { return ready; }

edgec_current *edgec_current_get(void) { return ready ? (edgec_current *)pthread_getspecific(current_key) : NULL; }

void edgec_current_set(edgec_current *current) { (void)pthread_setspecific(current_key, current); }

const char *edgec_thread_error_get(void) {
  if (!ready) return "this process has no thread-specific keys left: close models that it no longer needs";
  const char *text = (const char *)pthread_getspecific(error_key);
  return text ? text : "";
}

void edgec_thread_error_set(const char *text) {
  if (ready) (void)pthread_setspecific(error_key, text);
}
