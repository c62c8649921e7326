// One vector of floats, as wide as the instruction set of this compilation has them.
//
// Everything is written with the vector types of GCC and Clang, so that one source serves every instruction set: the
// compiler turns `a * b + c` into what it has (-ffp-contract=fast). A file that includes this one is compiled once per
// set, each time in a namespace of its own, named by REGARD_ISA: nothing that holds wide instructions is shared.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef REGARD_ISA
#error "compile with -DREGARD_ISA=name, the namespace of this instruction set"
#endif

namespace regard::REGARD_ISA {

#if defined(__AVX512F__)
constexpr int LANES = 16, TILE_ROWS = 8;
#elif defined(__AVX__)
constexpr int LANES = 8, TILE_ROWS = 6;
#elif defined(__aarch64__)
constexpr int LANES = 4, TILE_ROWS = 8;
#else
constexpr int LANES = 4, TILE_ROWS = 6;
#endif

typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef std::int32_t Ints __attribute__((vector_size(LANES * 4)));
typedef std::uint32_t Words __attribute__((vector_size(LANES * 4)));

static inline Floats load(const float* from) {
  Floats x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}

static inline Ints load(const std::int32_t* from) {
  Ints x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}

static inline Words load(const std::uint32_t* from) {
  Words x;
  __builtin_memcpy(&x, from, sizeof x);
  return x;
}

static inline void store(float* to, Floats x) { __builtin_memcpy(to, &x, sizeof x); }
static inline void store(std::uint32_t* to, Words x) { __builtin_memcpy(to, &x, sizeof x); }

static inline Floats broadcast(float x) { return x - Floats{}; }
static inline Ints broadcast(std::int32_t x) { return x - Ints{}; }
static inline Words broadcast(std::uint32_t x) { return x - Words{}; }

// `where` holds 0 or -1 in each lane, as comparisons give it.
static inline Floats select(Ints where, Floats yes, Floats no) { return where ? yes : no; }

// Of a NaN and a number the NaN, if it is the first.
static inline Floats larger(Floats x, Floats y) { return x < y ? y : x; }

static inline Ints bits_of(Floats x) { return (Ints)x; }
static inline Floats float_of(Ints x) { return (Floats)x; }

static inline Floats multiply_add(Floats sum, Floats x, Floats y) { return sum + x * y; }

// 1 / x for x of ordinary size, to a relative error of 3e-7: the processor's estimate, and one of Newton's steps.
static inline Floats reciprocal(Floats x) {
#if defined(__AVX512F__)
  const Floats estimate = (Floats)__builtin_ia32_rcp14ps512_mask(x, Floats{}, 0xffff);
#elif defined(__AVX__)
  const Floats estimate = (Floats)__builtin_ia32_rcpps256(x);
#else
  const Floats estimate = 1.0f / x;
#endif
  return estimate * (2.0f - x * estimate);
}

static inline Floats square_root(Floats x) {
#if defined(__AVX__) && !defined(__AVX512F__)
  return (Floats)__builtin_ia32_sqrtps256(x);
#else
  for (int lane = 0; lane < LANES; ++lane) x[lane] = __builtin_sqrtf(x[lane]);
  return x;
#endif
}

// Whether any lane is not 0.
static inline bool any(Ints where) {
#if defined(__AVX__) && !defined(__AVX512F__)
  typedef long long Quarters __attribute__((vector_size(32)));
  return !__builtin_ia32_ptestz256((Quarters)where, (Quarters)where);
#else
  std::int32_t found = 0;
  for (int lane = 0; lane < LANES; ++lane) found |= where[lane];
  return found != 0;
#endif
}

}  // namespace regard::REGARD_ISA
