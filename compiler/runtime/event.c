/* Sleeping until a word changes; see event.h. */
#define _GNU_SOURCE /* syscall */
#include "event.h"

#if EDGEC_FUTEX

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

int edgec_event_init(edgec_event *event) {
  atomic_init(&event->word, 0);
  return 0;
}

void edgec_event_wait(edgec_event *event, uint32_t seen) {
  (void)syscall(SYS_futex, &event->word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

void edgec_event_wake(edgec_event *event, int count) {
  (void)syscall(SYS_futex, &event->word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

void edgec_event_destroy(edgec_event *event) { (void)event; }

#else

int edgec_event_init(edgec_event *event) {
  atomic_init(&event->word, 0);
  int code = pthread_mutex_init(&event->mutex, NULL);
  if (code != 0) return code;
  code = pthread_cond_init(&event->changed, NULL);
  if (code != 0) pthread_mutex_destroy(&event->mutex);
  return code;
}

void edgec_event_wait(edgec_event *event, uint32_t seen) {
  pthread_mutex_lock(&event->mutex);
  while (atomic_load(&event->word) == seen) pthread_cond_wait(&event->changed, &event->mutex);
  pthread_mutex_unlock(&event->mutex);
}

void edgec_event_wake(edgec_event *event, int count) {
  (void)count; /* a condition variable wakes one or all; spare wake-ups are allowed */
  /* Passing through the lock: a thread that has read the old word is by then inside pthread_cond_wait. */
  pthread_mutex_lock(&event->mutex);
  pthread_mutex_unlock(&event->mutex);
  pthread_cond_broadcast(&event->changed);
}

void edgec_event_destroy(edgec_event *event) {
  pthread_cond_destroy(&event->changed);
  pthread_mutex_destroy(&event->mutex);
}

#endif
