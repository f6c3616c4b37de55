/* The clock of waiting threads and of profiles. */
#define _GNU_SOURCE /* clock_gettime */
#include <time.h>

#include "program.h"

uint64_t edgec_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
