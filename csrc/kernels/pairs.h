// What pack.h does, in pairs of bfloat16: along a row, or of two rows one below the other.
#pragma once

#include "kernels/pack.h"

namespace regard::REGARD_ISA {

static inline std::uint32_t pair(Half first, Half second) { return (std::uint32_t)second << 16 | first; }

// The pair at columns 2k and 2k + 1 of a row; beyond the width stands zero.
static inline std::uint32_t pair_at(const Matrix<const Half>& from, std::ptrdiff_t i, int k, int width) {
  return pair(*from.at(i, 2 * k), 2 * k + 1 < width ? *from.at(i, 2 * k + 1) : 0);
}

// to[k * to_row + i] = the pair k of row first + i, for `count` rows; the lanes up to the next vector are zeros. They are
// not scaled, which would round them once more: products of them are.
static inline float pack_columns(const Matrix<const Half>& from, std::ptrdiff_t first, int count, int width, float scale,
                                 std::uint32_t* to, std::ptrdiff_t to_row) {
  const int words = in_words<std::uint32_t>(width);
  for (int i = 0; i < rounded(count); i += LANES) {
    const int rows = count - i < LANES ? count - i : LANES;
    int k = 0;
    if (from.column == 1)
      for (; 2 * (k + LANES) <= width; k += LANES) {
        Floats square[LANES];
        for (int r = 0; r < LANES; ++r) {
          square[r] = Floats{};
          if (r < rows) __builtin_memcpy(&square[r], from.at(first + i + r, 2 * k), sizeof square[r]);
        }
        transpose(square);
        for (int r = 0; r < LANES; ++r) store(to + (k + r) * to_row + i, (Words)square[r]);
      }
    for (; k < words; ++k)
      for (int r = 0; r < LANES; ++r) to[k * to_row + i + r] = r < rows ? pair_at(from, first + i + r, k, width) : 0;
  }
  return scale;
}

// to[k * padded + j] = the numbers of rows first + 2k and first + 2k + 1 in column j; zeros beyond the rows and columns.
static inline void pack_rows(const Matrix<const Half>& from, std::ptrdiff_t first, int count, int width, std::uint32_t* to,
                             int padded) {
  typedef Half Halves __attribute__((vector_size(LANES * 2)));
  for (int i = 0; i < count; i += 2, to += padded) {
    const bool both = i + 1 < count;
    int j = 0;
    if (from.column == 1)
      for (; j + LANES <= width; j += LANES) {
        Halves above, below{};
        __builtin_memcpy(&above, from.at(first + i, j), sizeof above);
        if (both) __builtin_memcpy(&below, from.at(first + i + 1, j), sizeof below);
        store(to + j, __builtin_convertvector(above, Words) | __builtin_convertvector(below, Words) << 16);
      }
    for (; j < width; ++j) to[j] = pair(*from.at(first + i, j), both ? *from.at(first + i + 1, j) : 0);
    for (; j < padded; ++j) to[j] = 0;
  }
}

static inline Left<std::uint32_t> rows_of(const Matrix<const Half>& from, std::ptrdiff_t first, int count, int width, bool,
                                          std::uint32_t* room) {
  const int words = in_words<std::uint32_t>(width);
  for (int i = 0; i < count; ++i) {
    int k = 0;
    if (from.column == 1) {
      __builtin_memcpy(room + i * words, from.at(first + i), width / 2 * sizeof(std::uint32_t));
      k = width / 2;
    }
    for (; k < words; ++k) room[i * words + k] = pair_at(from, first + i, k, width);
  }
  return {room, words, 1};
}

static inline Left<std::uint32_t> turn_rows(const Left<std::uint32_t>&, const Matrix<const Half>& from, std::ptrdiff_t first,
                                            int count, int width, std::uint32_t* room) {
  pack_rows(from, first, count, width, room, width);
  return {room, 1, width};
}
static inline Left<std::uint32_t> columns_of(const Matrix<const Half>& from, std::ptrdiff_t first, int count, int width, bool,
                                             std::uint32_t* room) {
  return turn_rows({}, from, first, count, width, room);
}

}  // namespace regard::REGARD_ISA
