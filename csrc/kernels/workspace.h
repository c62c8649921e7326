// Numbers that a call shares among its tasks, and gives back at its end.
#pragma once

#include <cstdint>
#include <cstdlib>

namespace regard::REGARD_ISA {

class Workspace {
  float *data, *at;

 public:
  explicit Workspace(std::int64_t numbers)
      : data(static_cast<float*>(std::aligned_alloc(64, ((std::size_t)numbers * sizeof(float) + 64) / 64 * 64))), at(data) {}
  ~Workspace() { std::free(data); }
  Workspace(const Workspace&) = delete;

  explicit operator bool() const { return data; }
  float* take(std::int64_t numbers) {
    float* taken = at;
    at += numbers;
    return taken;
  }
};

}  // namespace regard::REGARD_ISA
