// Rows of a tensor as the micro-kernel wants them, in its words: side by side, or with the queries in the lanes.
#pragma once

#include "kernels/attention.h"
#include "kernels/product.h"
#include <type_traits>

#include "simd/transpose.h"

namespace regard::REGARD_ISA {

// What tensors of a type are multiplied as: bfloat16 in pairs where the processor does that, and else as floats.
template <typename T>
struct WordOf {
  typedef float type;
};
template <>
struct WordOf<Half> {
  typedef std::conditional_t<HAS_PAIRS, std::uint32_t, float> type;
};

// How many numbers a word holds, and how many words hold so many numbers.
template <typename Word>
constexpr int HELD = std::is_same_v<Word, float> ? 1 : 2;
template <typename Word>
static inline constexpr int in_words(std::int64_t numbers) {
  return (int)((numbers + HELD<Word> - 1) / HELD<Word>);
}

static inline float read(const float* from) { return *from; }
static inline float read(const Half* from) {
  const std::uint32_t bits = (std::uint32_t)*from << 16;
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

static inline Floats read_lanes(const float* from) { return load(from); }
static inline Floats read_lanes(const Half* from) {
#if defined(__AVX512F__)  // GCC widens the halves of a vector one after the other
  return float_of((Ints)_mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256((const __m256i*)from)) << 16);
#elif defined(__AVX2__)
  return float_of((Ints)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)from)) << 16);
#else
  typedef Half Halves __attribute__((vector_size(LANES * 2)));
  Halves x;
  __builtin_memcpy(&x, from, sizeof x);
  return float_of((Ints)(__builtin_convertvector(x, Words) << 16));
#endif
}

static inline void write(float* to, float x) { *to = x; }
static inline void write(Half* to, float x) {  // to the nearest, of two the even one; NaN stays NaN
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  *to = x != x ? 0x7fc0 : (Half)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// What numbers are after they are written and read.
static inline Floats rounded_to(const float*, Floats x) { return x; }
static inline Floats rounded_to(const Half*, Floats x) {
  return select(x == x, (Floats)(rounded_bits(x) & 0xffff0000u), float_of(broadcast(0x7fc00000)));
}

// Of numbers that are rounded already.
static inline void write_rounded(float* to, Floats x) { store(to, x); }
static inline void write_rounded(Half* to, Floats x) {
  const Words halves = (Words)x >> 16;
#if defined(__AVX512F__)  // GCC narrows the halves of a vector one after the other
  _mm256_storeu_si256((__m256i*)to, _mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)halves));
#elif defined(__AVX2__)
  const __m256i words = (__m256i)halves;
  _mm_storeu_si128((__m128i*)to, _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
#else
  typedef Half Halves __attribute__((vector_size(LANES * 2)));
  const Halves narrow = __builtin_convertvector(halves, Halves);
  __builtin_memcpy(to, &narrow, sizeof narrow);
#endif
}

template <typename T>
static inline void write_lanes(T* to, Floats x) {
  write_rounded(to, rounded_to(to, x));
}

// A matrix of a tensor: one head of one batch row.
template <typename T>
struct Matrix {
  T* data;
  std::ptrdiff_t row, column;

  Matrix(const Tensor& tensor, std::int64_t batch, std::int64_t head)
      : data((T*)tensor.data + batch * tensor.batch + head * tensor.head), row(tensor.row), column(tensor.column) {}
  T* at(std::ptrdiff_t i, std::ptrdiff_t j = 0) const { return data + i * row + j * column; }
  Matrix from(std::ptrdiff_t i) const {  // without the rows before
    Matrix rest = *this;
    rest.data = at(i);
    return rest;
  }
};

// Whether its rows are whole vectors, to be read where they lie.
static inline bool in_vectors(const Tensor& tensor, std::int64_t width) { return tensor.column == 1 && width % LANES == 0; }

static inline int rounded(std::int64_t count) { return (int)((count + LANES - 1) / LANES * LANES); }

// to[j * to_row + i] = scale * from[first + i, j] for `count` rows; the lanes up to the next vector are zeros. What is
// still to be multiplied with is returned: of floats nothing.
template <typename T>
static float pack_columns(const Matrix<const T>& from, std::ptrdiff_t first, int count, int width, float scale, float* to,
                         std::ptrdiff_t to_row) {
  for (int i = 0; i < rounded(count); i += LANES) {
    const int rows = count - i < LANES ? count - i : LANES;
    int j = 0;
    if (from.column == 1)
      for (; j + LANES <= width; j += LANES) {
        Floats square[LANES];
        for (int k = 0; k < LANES; ++k)
          square[k] = k < rows ? read_lanes(from.at(first + i + k, j)) * scale : Floats{};
        transpose(square);
        for (int k = 0; k < LANES; ++k) store(to + (j + k) * to_row + i, square[k]);
      }
    for (; j < width; ++j)
      for (int k = 0; k < LANES; ++k)
        to[j * to_row + i + k] = k < rows ? read(from.at(first + i + k, j)) * scale : 0.0f;
  }
  return 1.0f;
}

// The way back: to[first + i, j] = from[j * from_row + i].
template <typename T>
static void unpack_columns(const float* from, std::ptrdiff_t from_row, int count, int width, const Matrix<T>& to,
                           std::ptrdiff_t first) {
  for (int i = 0; i < count; i += LANES) {
    const int rows = count - i < LANES ? count - i : LANES;
    int j = 0;
    if (to.column == 1)
      for (; j + LANES <= width; j += LANES) {
        Floats square[LANES];
        for (int k = 0; k < LANES; ++k) square[k] = load(from + (j + k) * from_row + i);
        transpose(square);
        for (int k = 0; k < rows; ++k)
          if constexpr (sizeof(T) == sizeof(float)) {
            store((float*)to.at(first + i + k, j), square[k]);
          } else {
            for (int lane = 0; lane < LANES; ++lane) write(to.at(first + i + k, j + lane), square[k][lane]);
          }
      }
    for (; j < width; ++j)
      for (int k = 0; k < rows; ++k) write(to.at(first + i + k, j), from[j * from_row + i + k]);
  }
}

// to[i * padded + j] = from[first + i, j], with zeros from `width` to `padded`.
template <typename T>
static void pack_rows(const Matrix<const T>& from, std::ptrdiff_t first, int count, int width, float* to, int padded) {
  for (int i = 0; i < count; ++i) {
    int j = 0;
    if (from.column == 1)
      for (; j + LANES <= width; j += LANES) store(to + i * padded + j, read_lanes(from.at(first + i, j)));
    for (; j < width; ++j) to[i * padded + j] = read(from.at(first + i, j));
    for (; j < padded; ++j) to[i * padded + j] = 0.0f;
  }
}

// Rows of keys or values as the left side of a product: where they lie, or copied side by side, if they are no floats or
// `again` is to be read by several blocks. Rows that lie apart, as those of one head among others do, share few sets of
// a cache, which then holds few of them.
template <typename T>
static inline Left<float> rows_of(const Matrix<const T>& from, std::ptrdiff_t first, int count, int width, bool again, float* room) {
  if constexpr (sizeof(T) == sizeof(float))
    if (!again || (from.row == width && from.column == 1)) return {from.at(first), from.row, from.column};
  pack_rows(from, first, count, width, room, width);
  return {room, width, 1};
}

// Those rows as columns, the depth of the product along the keys: of floats they are there already.
template <typename T>
static inline Left<float> turn_rows(const Left<float>& rows, const Matrix<const T>&, std::ptrdiff_t, int, int, float*) {
  return {rows.data, rows.step, rows.row};
}
template <typename T>
static inline Left<float> columns_of(const Matrix<const T>& from, std::ptrdiff_t first, int count, int width, bool again, float* room) {
  return turn_rows(rows_of(from, first, count, width, again, room), from, first, count, width, room);
}

}  // namespace regard::REGARD_ISA
