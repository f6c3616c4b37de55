/* Prints what cpus.c decides: cpus_test SYS THREADS AFFINITY FAST_CORES, with - for no affinity. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  edgec_placement placement;
  const char *affinity = strcmp(argv[3], "-") == 0 ? NULL : argv[3];
  const char *error = edgec_place(argv[1], atoi(argv[2]), affinity, atoi(argv[4]), &placement);
  if (error != NULL) {
    printf("error: %s\n", error);
    return 0;
  }
  printf("threads %d cpus", placement.threads);
  for (int cpu = 0; cpu < EDGEC_MAX_CPUS; ++cpu) {
    if (edgec_cpus_has(&placement.cpus, cpu)) printf(" %d", cpu);
  }
  printf("%s%s\n", placement.binds ? " binds" : "", placement.asked ? " asked" : "");
  return 0;
}
