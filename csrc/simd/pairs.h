// Two bfloat16 in a word, the first in its lower half: what processors with AVX512-BF16 multiply and add at once.
//
// REGARD_EMULATE_PAIRS does the same by other means, so that what is written on pairs can be tested on any processor.
#pragma once

#include "simd/vector.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace regard::REGARD_ISA {

typedef std::uint16_t Half;  // a bfloat16: the upper half of a float

#if defined(__AVX512BF16__) || defined(REGARD_EMULATE_PAIRS)
constexpr bool HAS_PAIRS = true;
#else
constexpr bool HAS_PAIRS = false;
#endif

// The words of a float, rounded to bfloat16 in their upper halves: to the nearest, of two the even one.
static inline Words rounded_bits(Floats x) {
  const Words bits = (Words)x;
  return bits + 0x7fffu + (bits >> 16 & 1u);
}

// Of each lane a pair, of two vectors.
static inline Words pairs_of(Floats first, Floats second) {
  return rounded_bits(first) >> 16 | (rounded_bits(second) & 0xffff0000u);
}

// Neighbouring lanes as pairs, LANES / 2 of them.
static inline void store_halves(std::uint32_t* to, Floats x) {
  typedef Half Halves __attribute__((vector_size(LANES * 2)));
  const Halves halves = __builtin_convertvector(rounded_bits(x) >> 16, Halves);
  __builtin_memcpy(to, &halves, sizeof halves);
}

// Per lane: sum + the product of the first halves + the product of the second halves.
static inline Floats multiply_add(Floats sum, Words x, Words y) {
#if defined(__AVX512BF16__)
  return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)y);
#else
  return sum + (Floats)(x << 16) * (Floats)(y << 16) + (Floats)(x & 0xffff0000u) * (Floats)(y & 0xffff0000u);
#endif
}

}  // namespace regard::REGARD_ISA
