/* Sets of CPUs, and binding threads to them. */
#define _GNU_SOURCE /* sched_getaffinity, sched_setaffinity */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define BITS (8 * sizeof(unsigned long))

void edgec_cpus_add(edgec_cpus *cpus, int cpu) { cpus->words[(size_t)cpu / BITS] |= 1ul << ((size_t)cpu % BITS); }

void edgec_cpus_remove(edgec_cpus *cpus, int cpu) { cpus->words[(size_t)cpu / BITS] &= ~(1ul << ((size_t)cpu % BITS)); }

bool edgec_cpus_has(const edgec_cpus *cpus, int cpu) {
  return (cpus->words[(size_t)cpu / BITS] >> ((size_t)cpu % BITS) & 1) != 0;
}

int edgec_cpus_count(const edgec_cpus *cpus) {
  int count = 0;
  for (int cpu = 0; cpu < EDGEC_MAX_CPUS; ++cpu) count += edgec_cpus_has(cpus, cpu);
  return count;
}

#ifdef __linux__

_Static_assert(sizeof(edgec_cpus) == sizeof(cpu_set_t), "edgec_cpus is laid out as the system's sets are");

static bool get(edgec_cpus *cpus) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return false;
  memcpy(cpus, &set, sizeof set);
  return true;
}

bool edgec_bind(const edgec_cpus *cpus) {
  cpu_set_t set;
  memcpy(&set, cpus, sizeof set);
  return sched_setaffinity(0, sizeof set, &set) == 0;
}

#else

static bool get(edgec_cpus *cpus) {
  (void)cpus;
  return false;
}

bool edgec_bind(const edgec_cpus *cpus) {
  (void)cpus;
  return false;
}

#endif

bool edgec_cpus_usable(edgec_cpus *cpus) {
  if (get(cpus)) return true;
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  memset(cpus, 0, sizeof *cpus);
  for (int cpu = 0; cpu == 0 || (cpu < online && cpu < EDGEC_MAX_CPUS); ++cpu) edgec_cpus_add(cpus, cpu);
  return false;
}

bool edgec_bind_for_a_run(const edgec_cpus *cpus, edgec_cpus *before) {
  if (!get(before)) return false;
  bool inside = true;
  for (size_t i = 0; i < sizeof cpus->words / sizeof *cpus->words; ++i) {
    inside &= (before->words[i] & ~cpus->words[i]) == 0;
  }
  return !inside && edgec_bind(cpus);
}

static void *bind_self(void *cpus) { return edgec_bind(cpus) ? cpus : NULL; }

bool edgec_can_bind(const edgec_cpus *cpus) {
  pthread_t thread;
  void *bound = NULL;
  if (pthread_create(&thread, NULL, bind_self, (void *)(uintptr_t)cpus) != 0) return true; /* nothing is known */
  return pthread_join(thread, &bound) != 0 || bound != NULL;
}
