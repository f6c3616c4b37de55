/* How many threads a context uses when its maker does not say. */
#define _GNU_SOURCE /* sched_getaffinity, CPU_COUNT */
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"

/* By hand: with new C libraries' headers strtol becomes __isoc23_strtol, which older boards do not have. */
static int parse_threads(const char *text) {
  int value = 0;
  if (*text == '\0') return -1;
  for (; *text; ++text) {
    if (*text < '0' || *text > '9' || value > 9999) return -1;
    value = value * 10 + (*text - '0');
  }
  return value > 0 ? value : -1;
}

static int usable_cpus(void) {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 && online < 10000 ? (int)online : 1;
}

int edgec_resolve_threads(int requested) {
  int threads = requested;
  if (threads == 0) {
    const char *text = getenv("EDGEC_THREADS");
    threads = text && *text ? parse_threads(text) : usable_cpus();
  }
  return threads > EDGEC_POOL_MAX_THREADS ? EDGEC_POOL_MAX_THREADS : threads;
}
