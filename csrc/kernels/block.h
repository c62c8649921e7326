// A block: a few queries of one head, which are computed together, one to a lane; and a group of blocks, which read the
// same keys one after the other.
#pragma once

#include "kernels/bounds.h"
#include "kernels/keep.h"
#include "kernels/pairs.h"
#include "simd/exp2.h"

namespace regard::REGARD_ISA {

constexpr int KEYS = 96;                    // scored at a time
constexpr int MOST_BLOCKS = 512 / QUERIES;  // of a group: keys and values are laid side by side once for each group
constexpr int ROOM = 256 * 1024;            // numbers that a group may hold: what a core has of the caches

constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

// The part of a call that a group of blocks computes: some queries of one head of one batch row.
struct Group {
  std::int64_t batch, head, kv_head, first;
  int queries;

  int blocks() const { return (queries + QUERIES - 1) / QUERIES; }
  bool large() const { return queries > 32; }  // so that it pays to lay out keys and values for it
  std::int64_t first_of(int block) const { return first + block * QUERIES; }
  Group query(int i) const { return {batch, head, kv_head, first + i, 1}; }
  int queries_of(int block) const { return least(queries - block * QUERIES, QUERIES); }
};

// Queries of a group, so that `numbers` for each of its queries stay in the cache, and every thread has some groups.
static inline int queries_of_a_group(const Attention& call, std::int64_t numbers) {
  const std::int64_t heads = call.batch * call.heads;
  int blocks = MOST_BLOCKS;
  while (blocks > 1 && blocks * QUERIES * numbers > ROOM) blocks /= 2;
  while (blocks > 1 && heads * ((call.queries + blocks * QUERIES - 1) / (blocks * QUERIES)) < 4 * call.threads) blocks /= 2;
  return blocks * QUERIES;
}

// Numbers of some keys, a key a row and a query a lane.
struct Tile {
  const int* keys;
  int count;
  float* numbers;

  bool together() const { return keys[count - 1] - keys[0] == count - 1; }
  bool together(int n) const { return n + LANES <= count && keys[n + LANES - 1] - keys[n] == LANES - 1; }
};

// Where the gradients of some keys, or of their values, are summed: a key a row.
struct Sums {
  float* data;
  std::ptrdiff_t row;

  Sums(float* data_, std::ptrdiff_t row_) : data(data_), row(row_) {}
  Sums(const Places& places, std::int64_t batch, std::int64_t kv_head, std::int64_t part)
      : data(places.data + batch * places.batch + kv_head * places.head + part * places.part), row(places.row) {}
  float* at(std::int64_t key) const { return data + key * row; }
  Sums from(std::int64_t key) const { return {at(key), row}; }
  void clear(std::int64_t keys, std::int64_t width) const {
    for (std::int64_t key = 0; key < keys; ++key)
      for (std::int64_t k = 0; k < width; ++k) at(key)[k] = 0.0f;
  }
};

// Rows of a tile's keys, where they lie or side by side.
template <typename T>
static Left<float> rows_of(const Matrix<const T>& from, const Tile& tile, int width, float* room) {
  if (tile.together()) return rows_of(from, tile.keys[0], tile.count, width, false, room);
  for (int n = 0; n < tile.count; ++n) pack_rows(from, tile.keys[n], 1, width, room + n * width, width);
  return {room, width, 1};
}

// Products of a run of keys become scores, where packing has left a factor to be multiplied with.
static inline void scale_by(float factor, int keys, int lanes, float* scores) {
  if (factor == 1.0f) return;
  for (int j = 0; j < keys; ++j)
    for (int lane = 0; lane < lanes; lane += LANES) store(scores + j * QUERIES + lane, load(scores + j * QUERIES + lane) * factor);
}

// Numbers of a block, a key a row and a query a lane, as the right side of a product over the keys, ...
static inline const float* over_keys(const float* numbers, int, int, float*) { return numbers; }
static inline const std::uint32_t* over_keys(const float* numbers, int keys, int lanes, std::uint32_t* room) {
  for (int j = 0; j < keys; j += 2)
    for (int lane = 0; lane < lanes; lane += LANES) {
      const float* at = numbers + j * QUERIES + lane;
      store(room + j / 2 * QUERIES + lane, pairs_of(load(at), j + 1 < keys ? load(at + QUERIES) : Floats{}));
    }
  return room;
}

// ... and as the left side of one over the queries.
static inline Left<float> over_queries(const float* numbers, int, int, float*) { return {numbers, QUERIES, 1}; }
static inline Left<std::uint32_t> over_queries(const float* numbers, int keys, int lanes, std::uint32_t* room) {
  for (int j = 0; j < keys; ++j)
    for (int lane = 0; lane < lanes; lane += LANES) store_halves(room + (j * QUERIES + lane) / 2, load(numbers + j * QUERIES + lane));
  return {room, QUERIES / 2, 1};
}

// Scores of a run of keys that some query of the block may not see: those become -inf.
static inline void hide(const Visible& visible, int first, int keys, int lanes, float* scores) {
  const Floats never = broadcast(-__builtin_inff());
  for (int j = 0; j < keys; ++j)
    for (int lane = 0; lane < lanes; lane += LANES) {
      float* at = scores + j * QUERIES + lane;
      store(at, select(visible.see(lane, first + j), load(at), never));
    }
}

// Whether some rows of a matrix hold neither NaN nor infinity: only those are not 0 when multiplied by 0.
template <typename T>
static bool finite(const Matrix<const T>& matrix, std::ptrdiff_t first, std::ptrdiff_t last, int width) {
  Floats sums{};
  float sum = 0.0f;
  for (std::ptrdiff_t i = first; i < last; ++i) {
    int j = 0;
    if (matrix.column == 1)
      for (; j + LANES <= width; j += LANES) sums += read_lanes(matrix.at(i, j)) * 0.0f;
    for (; j < width; ++j) sum += read(matrix.at(i, j)) * 0.0f;
  }
  return sum == 0.0f && !any(sums != 0.0f);
}

}  // namespace regard::REGARD_ISA
