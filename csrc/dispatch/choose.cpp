#include "dispatch/choose.h"

#include <cstring>

namespace regard {

// REGARD_SETS, of CMakeLists.txt: REGARD_SET(avx2) REGARD_SET(plain), the best first.
#define REGARD_SET(isa) namespace isa { extern const Kernels KERNELS; }
REGARD_SETS
#undef REGARD_SET

#define REGARD_SET(isa) &isa::KERNELS,
const Kernels* const BUILT[] = {REGARD_SETS nullptr};
#undef REGARD_SET

bool supported(const Kernels& kernels) noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
  if (!std::strcmp(kernels.name, "avx512_bf16")) return avx512 && __builtin_cpu_supports("avx512bf16");
  if (!std::strcmp(kernels.name, "avx512")) return avx512;
  if (!std::strcmp(kernels.name, "avx2")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  (void)kernels;
  return true;
}

// Whether a supported set is faster than those after it. Intel's cores multiply pairs of bfloat16 at half the speed of
// float32 (benchmarks/reports/attention_xeon_2026-11-28.md), AMD's at twice (github.com/iree-org/iree, pull request 15089).
static bool worthwhile(const Kernels& kernels) noexcept {
#if defined(__x86_64__)
  return std::strcmp(kernels.name, "avx512_bf16") || !__builtin_cpu_is("intel");
#endif
  (void)kernels;
  return true;
}

const Kernels* choose(const char* name) noexcept {
  for (const Kernels* const* one = BUILT; *one; ++one)
    if (supported(**one) && (name ? !std::strcmp(name, (*one)->name) : worthwhile(**one))) return *one;
  return nullptr;
}

}  // namespace regard
