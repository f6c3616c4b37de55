/* Aligned heap memory for arenas and workspaces. */
#define _POSIX_C_SOURCE 200809L /* posix_memalign */
#include <stdlib.h>

#include "internal.h"

void *edgec_aligned_alloc(uint64_t bytes) {
  void *memory = NULL;
  if (bytes > SIZE_MAX / 2) return NULL; /* PTRDIFF_MAX: C objects cannot be larger, and rounding up cannot overflow */
  size_t rounded = ((size_t)bytes + EDGEC_ALIGNMENT - 1) & ~(size_t)(EDGEC_ALIGNMENT - 1);
  if (rounded == 0) rounded = EDGEC_ALIGNMENT; /* an address of its own even for nothing */
  return posix_memalign(&memory, EDGEC_ALIGNMENT, rounded) == 0 ? memory : NULL;
}
