// What every call of the kernels shares.
#pragma once

#include <cstdint>

namespace regard {

enum class Status : int { done = 0, no_memory = 1, no_such_isa = 2, no_such_page = 3 };

enum class Type : int { float32 = 0, bfloat16 = 1 };

// What is dropped is decided by the contract of regard/ops/random.py.
struct Dropout {
  std::uint64_t seed;
  std::uint32_t threshold;  // round(p * 2^32); nothing is dropped at 0
  float scale;              // 1 / (1 - p)
};

}  // namespace regard
