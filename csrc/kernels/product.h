// The micro-kernel: products of small matrices, C (+)= A B, with the columns of B and C in the lanes.
//
// A is read one word at a time, from wherever it lies: element (i, k) is a[i * row + k * step]. So every product of
// attention, forward and backward, is this one with other strides. A word is a float, or a pair of bfloat16 along the
// depth of the product, which then counts pairs.
#pragma once

#include "simd/pairs.h"

namespace regard::REGARD_ISA {

template <typename Word>
struct Left {
  const Word* data;
  std::ptrdiff_t row, step;  // in words
};

// A tile of ROWS x (VECTORS * LANES) numbers of C, held in registers.
template <int ROWS, int VECTORS, bool ADD, typename Word>
[[gnu::always_inline]] static inline void product_tile(Left<Word> a, const Word* b, std::ptrdiff_t b_row, int depth,
                                                       float* c, std::ptrdiff_t c_row) {
  Floats sum[ROWS][VECTORS];
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i)
    for (int v = 0; v < VECTORS; ++v) sum[i][v] = Floats{};
  for (int k = 0; k < depth; ++k) {
    decltype(load(b)) right[VECTORS];
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; ++v) right[v] = load(b + k * b_row + v * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
      const auto left = broadcast(a.data[i * a.row + k * a.step]);
      for (int v = 0; v < VECTORS; ++v) sum[i][v] = multiply_add(sum[i][v], left, right[v]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; ++v) {
      float* to = c + i * c_row + v * LANES;
      store(to, ADD ? load(to) + sum[i][v] : sum[i][v]);
    }
}

template <int VECTORS, bool ADD, typename Word>
static inline void product_rows(Left<Word> a, const Word* b, std::ptrdiff_t b_row, int rows, int depth, float* c,
                                std::ptrdiff_t c_row) {
  for (; rows >= TILE_ROWS; rows -= TILE_ROWS, a.data += TILE_ROWS * a.row, c += TILE_ROWS * c_row)
    product_tile<TILE_ROWS, VECTORS, ADD>(a, b, b_row, depth, c, c_row);
  if (rows & 4) {
    product_tile<4, VECTORS, ADD>(a, b, b_row, depth, c, c_row);
    a.data += 4 * a.row, c += 4 * c_row;
  }
  if (rows & 2) {
    product_tile<2, VECTORS, ADD>(a, b, b_row, depth, c, c_row);
    a.data += 2 * a.row, c += 2 * c_row;
  }
  if (rows & 1) product_tile<1, VECTORS, ADD>(a, b, b_row, depth, c, c_row);
}

// C (rows x lanes) = A (rows x depth) B (depth x lanes), or added to it; `lanes` is a multiple of LANES.
template <bool ADD, typename Word>
static void product(Left<Word> a, const Word* b, std::ptrdiff_t b_row, int rows, int lanes, int depth, float* c,
                    std::ptrdiff_t c_row) {
  int at = 0;
  for (; at + 2 * LANES <= lanes; at += 2 * LANES) product_rows<2, ADD>(a, b + at, b_row, rows, depth, c + at, c_row);
  if (at < lanes) product_rows<1, ADD>(a, b + at, b_row, rows, depth, c + at, c_row);
}

}  // namespace regard::REGARD_ISA
