/* Sleeping until a 32-bit word changes: the futex where the system has one, a condition variable elsewhere.
 * With a futex there is no lock, so waking never waits for a thread that was descheduled while it held one, and a
 * fork cannot leave one locked. */
#ifndef EDGEC_EVENT_H_
#define EDGEC_EVENT_H_

#include <stdatomic.h>
#include <stdint.h>

#if defined(__linux__) && !defined(EDGEC_NO_FUTEX)
#define EDGEC_FUTEX 1
#else
#define EDGEC_FUTEX 0
#include <pthread.h>
#endif

typedef struct edgec_event {
  _Atomic uint32_t word;
#if !EDGEC_FUTEX
  pthread_mutex_t mutex;
  pthread_cond_t changed;
#endif
} edgec_event;

/* 0, or the system's error number. */
int edgec_event_init(edgec_event *event);

/* Returns when the word is no longer `seen`, or for no reason: check and call again. */
void edgec_event_wait(edgec_event *event, uint32_t seen);

/* Wakes up to `count` waiting threads; call it after changing the word. */
void edgec_event_wake(edgec_event *event, int count);

void edgec_event_destroy(edgec_event *event);

#endif /* EDGEC_EVENT_H_ */
