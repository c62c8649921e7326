// Bahdanau's score, sum over h of weight[h] tanh(query[h] + key[h]), and its gradients; never a pair's hidden layer in memory.
//
// tanh(a + b) = 1 - 2 share, share = 1 / (1 + e^2a e^2b): the two powers are computed once for each query and each key, so
// that a pair costs a product, a sum and a reciprocal. They would not be finite far from zero: where any query or key of a
// group is, its exponents are added up and the power is one of the pair (EXACT).
#pragma once

#include "kernels/products.h"

namespace regard::REGARD_ISA {

constexpr float FAR = 20.0f;        // then e^2a e^2b is below 6e34
constexpr float HIGHEST = 126.0f;   // exponent of two of a power of a pair: beyond, tanh is 1
constexpr float TO_EXPONENT = 2.0f * LOG2_E;

// Whether some rows of a matrix are close enough to zero (NaN is not).
template <typename T>
static bool close(const Matrix<const T>& matrix, std::ptrdiff_t first, std::ptrdiff_t last, int width) {
  Ints found{};
  bool far = false;
  for (std::ptrdiff_t i = first; i < last; ++i) {
    int j = 0;
    if (matrix.column == 1)
      for (; j + LANES <= width; j += LANES) {
        const Floats x = read_lanes(matrix.at(i, j));
        found |= ~((x <= FAR) & (x >= -FAR));
      }
    for (; j < width; ++j) far |= !(read(matrix.at(i, j)) <= FAR && read(matrix.at(i, j)) >= -FAR);
  }
  return !far && !any(found);
}

// Exponents become powers.
static inline void raise(float* numbers, std::int64_t count) {
  for (std::int64_t n = 0; n < count; n += LANES) store(numbers + n, exp2(load(numbers + n)));
}

template <bool EXACT>
static inline Floats share(Floats query, Floats key) {
  if constexpr (EXACT) {
    const Floats exponent = query + key;
    return 1.0f / (1.0f + exp2(exponent > HIGHEST ? broadcast(HIGHEST) : exponent));
  } else {
    return reciprocal(query * key + 1.0f);
  }
}

// scores[j][lane] = base - sum over h of twice[h] share(query[h][lane], key[j][h]).
template <bool EXACT, int ROWS, int VECTORS>
static inline void additive_tile(Left<float> key, const float* query, const float* twice, float base, int width, float* scores) {
  Floats sum[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int j = 0; j < ROWS; ++j)
    for (int v = 0; v < VECTORS; ++v) sum[j][v] = broadcast(base);
  for (int h = 0; h < width; ++h) {
    const Floats factor = broadcast(twice[h]);
    Floats columns[VECTORS];
    for (int v = 0; v < VECTORS; ++v) columns[v] = load(query + h * QUERIES + v * LANES);
#pragma GCC unroll 8
    for (int j = 0; j < ROWS; ++j) {
      const Floats row = broadcast(key.data[j * key.row + h]);
      for (int v = 0; v < VECTORS; ++v) sum[j][v] -= factor * share<EXACT>(columns[v], row);
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < ROWS; ++j)
    for (int v = 0; v < VECTORS; ++v) store(scores + j * QUERIES + v * LANES, sum[j][v]);
}

template <bool EXACT, int VECTORS>
static inline void additive_columns(Left<float> key, const float* query, const float* twice, float base, int keys, int width,
                                    float* scores) {
  int j = 0;
  for (; j + 4 <= keys; j += 4)
    additive_tile<EXACT, 4, VECTORS>({key.data + j * key.row, key.row, 1}, query, twice, base, width, scores + j * QUERIES);
  for (; j < keys; ++j)
    additive_tile<EXACT, 1, VECTORS>({key.data + j * key.row, key.row, 1}, query, twice, base, width, scores + j * QUERIES);
}

template <bool EXACT>
static void additive_scores(Left<float> key, const float* query, const float* twice, float base, int keys, int lanes, int width,
                            float* scores) {
  int lane = 0;
  for (; lane + 2 * LANES <= lanes; lane += 2 * LANES)
    additive_columns<EXACT, 2>(key, query + lane, twice, base, keys, width, scores + lane);
  if (lane < lanes) additive_columns<EXACT, 1>(key, query + lane, twice, base, keys, width, scores + lane);
}

constexpr int TILE = KEYS + LANES;  // numbers from one h to the next, where the keys of a tile lie side by side

// Of the gradients of the scores of a run of keys, which are 0 up to a whole number of vectors of keys: the sums of gradient
// share (1 - share), to be multiplied by 4 weight[h], over the keys to query_sums[h][lane], over the queries to key_sums[h][j]. And to share_sums[h][lane] gradient share.
template <bool EXACT, int VECTORS>
static void additive_gradients(const float* key, const float* query, const float* gradients, int keys, int width,
                               float* query_sums, float* share_sums, float* key_sums) {
  for (int h = 0; h < width; ++h, key += TILE, key_sums += TILE, query += QUERIES, query_sums += QUERIES, share_sums += QUERIES) {
    Floats columns[VECTORS], changes[VECTORS], shares[VECTORS];
    for (int v = 0; v < VECTORS; ++v)
      columns[v] = load(query + v * LANES), changes[v] = load(query_sums + v * LANES), shares[v] = load(share_sums + v * LANES);
    for (int first = 0; first < keys; first += LANES) {
      const auto sum_of = [&](int i) __attribute__((always_inline)) {
        const Floats row = broadcast(key[first + i]);
        Floats sum{};
        for (int v = 0; v < VECTORS; ++v) {
          const Floats of_pair = share<EXACT>(columns[v], row);
          const Floats shared = load(gradients + (first + i) * QUERIES + v * LANES) * of_pair, change = shared - shared * of_pair;
          shares[v] += shared, changes[v] += change, sum += change;
        }
        return sum;
      };
      store(key_sums + first, load(key_sums + first) + sums_of(sum_of));
    }
    for (int v = 0; v < VECTORS; ++v) store(query_sums + v * LANES, changes[v]), store(share_sums + v * LANES, shares[v]);
  }
}

template <bool EXACT>
static void additive_gradients(const float* key, const float* query, const float* gradients, int keys, int lanes, int width,
                               float* query_sums, float* share_sums, float* key_sums) {
  int lane = 0;
  for (; lane + 2 * LANES <= lanes; lane += 2 * LANES)
    additive_gradients<EXACT, 2>(key, query + lane, gradients + lane, keys, width, query_sums + lane, share_sums + lane, key_sums);
  if (lane < lanes)
    additive_gradients<EXACT, 1>(key, query + lane, gradients + lane, keys, width, query_sums + lane, share_sums + lane, key_sums);
}

// As Products, of float32.
struct Additive {
  typedef float Word;
  const Matrix<const float> query, key;
  const int width, padded;
  const float scale;
  float *twice, *fourfold, base = 0.0f;  // 2 weight unit and 4 weight; the sum of weight unit
  float *share_sums, total = 0.0f;       // backward: gradient share of all pairs, (width, QUERIES); and gradient of them all
  float *tile, *key_sums;                // of a tile: keys, and the sums of additive_gradients, (width, TILE)
  bool exact;

  Additive(const Attention& call, const Group& group, const Range* ranges, int count, float unit, float* room)
      : query(call.query, group.batch, group.head), key(call.key, group.batch, group.kv_head), width((int)call.width),
        padded(rounded(call.width)), scale(call.scale), twice(room), fourfold(room + padded), share_sums(room + 2 * padded),
        tile(share_sums + width * QUERIES), key_sums(tile + width * TILE) {
    for (int n = 0; n < width * QUERIES; ++n) share_sums[n] = 0.0f;
    for (int h = 0; h < padded; ++h) {
      const float weight = h < width ? call.weight[group.head * width + h] * call.scale : 0.0f;
      twice[h] = 2.0f * weight * unit, fourfold[h] = 4.0f * weight;
      base += weight * unit;
    }
    exact = !close(query, group.first, group.first + group.queries, width);
    for (int r = 0; r < count; ++r) exact |= !close(key, ranges[r].first, ranges[r].last, width);
  }
  static std::int64_t room(const Attention& call) { return 2 * rounded(call.width) + call.width * (QUERIES + 2 * TILE); }

  void pack(std::int64_t first, int queries, float* to) const {
    pack_columns(query, first, queries, width, TO_EXPONENT, to, QUERIES);
    if (!exact)
      for (int h = 0; h < width; ++h) raise(to + h * QUERIES, rounded(queries));
  }
  Left<float> rows(int first, int keys, float* to) const {
    pack_rows(key, first, keys, width, to, width);
    return powers(keys, to);
  }
  Left<float> rows(const Tile& tile, float* to) const {
    for (int n = 0; n < tile.count; ++n) pack_rows(key, tile.keys[n], 1, width, to + n * width, width);
    return powers(tile.count, to);
  }
  Left<float> powers(int keys, float* to) const {
    const std::int64_t numbers = (std::int64_t)keys * width;  // to the end of a vector, where there is room too
    for (std::int64_t n = 0; n < numbers; n += LANES) store(to + n, load(to + n) * TO_EXPONENT);
    if (!exact) raise(to, numbers);
    return {to, width, 1};
  }
  void scores(Left<float> rows, const float* packed, int keys, int lanes, float* to) const {
    (exact ? additive_scores<true> : additive_scores<false>)(rows, packed, twice, base, keys, lanes, width, to);
  }

  void pack_more(std::int64_t, int, float*, float* query_gradient) const {
    for (int n = 0; n < width * QUERIES; ++n) query_gradient[n] = 0.0f;
  }
  Left<float> columns(Left<float> rows, int, int keys, float*) const {
    for (int h = 0; h < width; ++h)
      for (int j = 0; j < keys + LANES; ++j) {
        tile[h * TILE + j] = j < keys ? rows.data[j * rows.row + h] : 0.0f;
        key_sums[h * TILE + j] = 0.0f;
      }
    return {tile, TILE, 1};
  }
  void finish_tile(int keys, Sums key_gradient) const {
    for (int j = 0; j < keys; ++j)
      for (int h = 0; h < width; ++h) key_gradient.at(j)[h] += fourfold[h] * key_sums[h * TILE + j];
  }
  float factor() const { return 1.0f; }
  void add_gradients(float* gradients, Left<float> columns, const float* packed, const float*, int, int keys, int lanes, bool,
                     float* query_gradient, Sums, float*) {
    Floats sum{};
    for (int n = keys * QUERIES; n < rounded(keys) * QUERIES; ++n) gradients[n] = 0.0f;
    for (int j = 0; j < keys; ++j)
      for (int lane = 0; lane < lanes; lane += LANES) sum += load(gradients + j * QUERIES + lane);
    for (int lane = 0; lane < LANES; ++lane) total += sum[lane];
    (exact ? additive_gradients<true> : additive_gradients<false>)(columns.data, packed, gradients, keys, lanes, width, query_gradient,
                                                                   share_sums, key_sums + (columns.data - tile));
  }
  void finish_block(float* query_gradient) const {
    for (int h = 0; h < width; ++h)
      for (int i = 0; i < QUERIES; ++i) query_gradient[h * QUERIES + i] *= fourfold[h];
  }
  // tanh is 1 less twice the share.
  void finish_group(float* weight_gradient) const {
    for (int h = 0; h < width; ++h) {
      float sum = 0.0f;
      for (int i = 0; i < QUERIES; ++i) sum += share_sums[h * QUERIES + i];
      weight_gradient[h] += scale * (total - 2.0f * sum);
    }
  }
};

}  // namespace regard::REGARD_ISA
