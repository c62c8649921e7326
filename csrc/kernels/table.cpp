// The table of one instruction set; compiled once for each, with its own flags and REGARD_ISA.

#include "dispatch/kernels.h"
#include "kernels/entries.h"
#include "kernels/pack.h"
#include "parallel/parallel.h"

#define REGARD_TEXT(name) #name
#define REGARD_NAME(name) REGARD_TEXT(name)

namespace regard::REGARD_ISA {
namespace {

// What the processor reaches in registers alone: the sums of a tile, without reading anything. Of floats the sums are
// multiplied, since a product that is always the same would be computed once.
Floats one_more(Floats sum, Floats left, Floats right) { return multiply_add(right, sum, left); }
[[maybe_unused]] Floats one_more(Floats sum, Words left, Words right) { return multiply_add(sum, left, right); }

template <typename Word>
void multiply_add_task(const void* rounds, std::int64_t, float* room) {
  const Floats some = broadcast(*static_cast<const int*>(rounds) * 1e-12f);  // nothing the compiler could know
  const auto left = (decltype(broadcast(Word{})))some, right = left;
  Floats sum[TILE_ROWS][2];
  for (int i = 0; i < TILE_ROWS; ++i) sum[i][0] = sum[i][1] = some;
  for (int n = *static_cast<const int*>(rounds); n > 0; --n)
    for (int i = 0; i < TILE_ROWS; ++i)
      for (int v = 0; v < 2; ++v) sum[i][v] = one_more(sum[i][v], left, right);
  Floats total{};
  for (int i = 0; i < TILE_ROWS; ++i) total += sum[i][0] + sum[i][1];
  store(room, total);
}

}  // namespace

double multiply_add(Type type, int threads, int rounds) noexcept {
  typedef WordOf<Half>::type Word;
  const bool pairs = type == Type::bfloat16 && HELD<Word> == 2;
  run_parallel(threads, threads, LANES, pairs ? multiply_add_task<Word> : multiply_add_task<float>, &rounds);
  return 2.0 * (pairs ? 2 : 1) * threads * rounds * TILE_ROWS * 2 * LANES;
}

extern const Kernels KERNELS;
const Kernels KERNELS{REGARD_NAME(REGARD_ISA), forward, plan, backward, cross_entropy, points, points_backward, residual,
                      residual_backward, packed_numbers, pack_weight, projection, ranking, decoder_step, multiply_add};

}  // namespace regard::REGARD_ISA
