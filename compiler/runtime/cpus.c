/* Which CPUs a context uses, and how many threads. */
#define _POSIX_C_SOURCE 200809L /* O_CLOEXEC */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* CPUs that are slower than these shares of the fastest one make up the slow ones. Capacities count the work done, and
 * differ within a cluster by nothing; clocks differ a little between equal cores of one chip. */
#define CAPACITY_PERCENT 65
#define CLOCK_PERCENT 85
#define MANY_THREADS 9999

/* By hand: with new C libraries' headers strtol becomes __isoc23_strtol, which older boards do not have. Moves *text
 * past the digits; -1 if there are none, or too many. */
static long parse_number(const char **text) {
  long value = 0;
  const char *begin = *text;
  for (; **text >= '0' && **text <= '9'; ++*text) {
    if (*text - begin >= 9) return -1;
    value = value * 10 + (**text - '0');
  }
  return *text > begin ? value : -1;
}

static int parse_threads(const char *text) {
  long value = parse_number(&text);
  return *text == '\0' && value > 0 && value <= MANY_THREADS ? (int)value : -1;
}

/* `0,2-3`; false if it is none. */
static bool parse_cpus(const char *text, edgec_cpus *cpus) {
  memset(cpus, 0, sizeof *cpus);
  for (;; ++text) {
    long first = parse_number(&text), last = first;
    if (*text == '-') {
      ++text;
      last = parse_number(&text);
    }
    if (first < 0 || last < first || last >= EDGEC_MAX_CPUS) return false;
    for (long cpu = first; cpu <= last; ++cpu) edgec_cpus_add(cpus, (int)cpu);
    if (*text != ',') return *text == '\0';
  }
}

/* The first bytes of a file as a string; false if it cannot be read. */
static bool read_text(const char *path, char *text, size_t size) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t count = read(file, text, size - 1);
  close(file);
  if (count < 0) return false;
  text[count] = '\0';
  return true;
}

static long read_number(const char *root, int cpu, const char *name) {
  char path[256], text[32];
  const char *at = text;
  snprintf(path, sizeof path, "%s/devices/system/cpu/cpu%d/%s", root, cpu, name);
  return read_text(path, text, sizeof text) ? parse_number(&at) : -1;
}

/* The CPUs whose number in a file of /sys is at least `percent` of the largest; false if some have no such file. */
static bool find_fast(const char *root, const char *name, int percent, const edgec_cpus *among, edgec_cpus *fast) {
  long speeds[EDGEC_MAX_CPUS], most = 0;
  for (int cpu = 0; cpu < EDGEC_MAX_CPUS; ++cpu) {
    if (!edgec_cpus_has(among, cpu)) continue;
    speeds[cpu] = read_number(root, cpu, name);
    if (speeds[cpu] <= 0) return false;
    if (speeds[cpu] > most) most = speeds[cpu];
  }
  memset(fast, 0, sizeof *fast);
  for (int cpu = 0; cpu < EDGEC_MAX_CPUS; ++cpu) {
    if (edgec_cpus_has(among, cpu) && (int64_t)speeds[cpu] * 100 >= (int64_t)most * percent) edgec_cpus_add(fast, cpu);
  }
  return true;
}

/* CPUs that a container's quota is worth, rounded up; MANY_THREADS without one. */
static int quota(const char *root) {
  char path[256], text[64];
  const char *at = text;
  snprintf(path, sizeof path, "%s/fs/cgroup/cpu.max", root);
  if (!read_text(path, text, sizeof text)) return MANY_THREADS;
  long time = parse_number(&at);
  if (time <= 0 || *at++ != ' ') return MANY_THREADS;
  long period = parse_number(&at);
  return period > 0 && time / period < MANY_THREADS ? (int)((time + period - 1) / period) : MANY_THREADS;
}

/* Narrows `usable` to what `affinity` names; an error's text, or NULL. */
static const char *choose(const char *root, const char *affinity, const edgec_cpus *usable, edgec_cpus *chosen) {
  *chosen = *usable;
  if (strcmp(affinity, "all") == 0) return NULL;
  bool little = strcmp(affinity, "little") == 0;
  if (little || strcmp(affinity, "big") == 0) {
    edgec_cpus fast;
    if (!find_fast(root, "cpu_capacity", CAPACITY_PERCENT, usable, &fast) &&
        !find_fast(root, "cpufreq/cpuinfo_max_freq", CLOCK_PERCENT, usable, &fast)) {
      return NULL; /* all are taken to be equal */
    }
    for (int cpu = 0; cpu < EDGEC_MAX_CPUS; ++cpu) {
      if (edgec_cpus_has(&fast, cpu) == little) edgec_cpus_remove(chosen, cpu);
    }
    if (edgec_cpus_count(chosen) == 0) *chosen = *usable;
    return NULL;
  }
  edgec_cpus named;
  if (!parse_cpus(affinity, &named)) {
    return "the affinity (or the environment's EDGEC_AFFINITY) is not `big`, `little`, `all` or CPUs as in `0,2-3`";
  }
  for (int cpu = 0; cpu < EDGEC_MAX_CPUS; ++cpu) {
    if (!edgec_cpus_has(&named, cpu)) edgec_cpus_remove(chosen, cpu);
  }
  return edgec_cpus_count(chosen) > 0 ? NULL : "this process may use none of the CPUs that the affinity names";
}

const char *edgec_place(const char *root, int threads, const char *affinity, int fast_cores, edgec_placement *out) {
  const char *text = getenv("EDGEC_THREADS");
  if (threads == 0 && text != NULL && *text != '\0') {
    threads = parse_threads(text);
    if (threads < 0) return "the environment variable EDGEC_THREADS is not a whole number from 1 to 9999";
  }
  if (affinity == NULL || *affinity == '\0') affinity = getenv("EDGEC_AFFINITY");
  memset(out, 0, sizeof *out);
  out->asked = affinity != NULL && *affinity != '\0';
  if (!out->asked) affinity = threads == 1 ? "all" : "big";
  edgec_cpus usable;
  bool known = edgec_cpus_usable(&usable);
  const char *error = choose(root, affinity, &usable, &out->cpus);
  if (error != NULL) return error;
  int count = edgec_cpus_count(&out->cpus);
  out->binds = count < edgec_cpus_count(&usable);
  if (!known && out->asked && strcmp(affinity, "all") != 0) {
    out->binds = false;
    out->warning = "this system lets no program choose its CPUs: the affinity is ignored";
  }
  if (threads == 0) {
    int limit = quota(root);
    threads = count < limit ? count : limit;
    /* Hardware threads of one core gain nothing. */
    if (strcmp(affinity, "big") == 0 && fast_cores > 0 && fast_cores < threads) threads = fast_cores;
  }
  out->threads = threads < EDGEC_POOL_MAX_THREADS ? threads : EDGEC_POOL_MAX_THREADS;
  return NULL;
}
