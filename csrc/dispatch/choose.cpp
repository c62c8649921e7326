#include "dispatch/choose.h"

#include <cstring>

namespace regard {

#define REGARD_DECLARE(isa) \
  namespace isa {           \
  extern const Kernels KERNELS; \
  }
#if defined(__x86_64__)
REGARD_DECLARE(avx512_bf16)
REGARD_DECLARE(avx512)
REGARD_DECLARE(avx2)
#elif defined(__aarch64__)
REGARD_DECLARE(neon)
#endif
REGARD_DECLARE(plain)
#if defined(REGARD_EMULATED)
REGARD_DECLARE(emulated)
#endif

const Kernels* const BUILT[] = {
#if defined(__x86_64__)
    &avx512_bf16::KERNELS, &avx512::KERNELS, &avx2::KERNELS,
#elif defined(__aarch64__)
    &neon::KERNELS,
#endif
    &plain::KERNELS,
#if defined(REGARD_EMULATED)
    &emulated::KERNELS,  // pairs of bfloat16 on any processor: csrc/simd/pairs.h
#endif
    nullptr};

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

const Kernels* choose(const char* name) noexcept {
  for (const Kernels* const* one = BUILT; *one; ++one)
    if (supported(**one) && (!name || !std::strcmp(name, (*one)->name))) return *one;
  return nullptr;
}

}  // namespace regard
