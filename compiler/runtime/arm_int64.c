/* Conversions between 64-bit integers and floats, which 32-bit ARM has no instruction for. LLVM calls them by their
 * generic names in kernels and by the names of the ARM ABI in C; a runtime library of the compiler may lack the former.
 */
#ifdef __arm__
#include <stdint.h>

#define CONVERSION(name, from, to)                       \
  __attribute__((visibility("hidden"), weak)) to name(from); \
  to name(from value) { return (to)value; }

CONVERSION(__floatdisf, int64_t, float)
CONVERSION(__floatundisf, uint64_t, float)
CONVERSION(__floatdidf, int64_t, double)
CONVERSION(__floatundidf, uint64_t, double)
CONVERSION(__fixsfdi, float, int64_t)
CONVERSION(__fixunssfdi, float, uint64_t)
CONVERSION(__fixdfdi, double, int64_t)
CONVERSION(__fixunsdfdi, double, uint64_t)
#else
typedef int edgec_nothing_to_do_here; /* C wants a declaration in every file */
#endif
