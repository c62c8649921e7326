// Decoding: a few queries against many keys, where what takes the time is to read keys and values.
//
// Vectors run along the width, as keys and values lie in memory, and each of those is read once for all the queries that
// share it: those of the heads of its kv head, and of the new positions. Keys are split among tasks, so that there is work
// for every thread where there are few heads (Flash-Decoding, Dao et al. 2023); keys and values may lie in pages
// (PagedAttention, Kwon et al. 2023).
//
// A query is multiplied with the keys that it sees and no others, so that a NaN reaches exactly the queries that see it.
#pragma once

#include <atomic>
#include <cstdlib>

#include "kernels/block.h"
#include "parallel/parallel.h"

namespace regard::REGARD_ISA {

constexpr int FEW = 4;           // queries that this is for: more of them fill the lanes of the other kernel
constexpr int RUN = 16;          // keys that are scored at a time; those of the next run are under way meanwhile
constexpr int TOGETHER = 4;      // queries that are
constexpr int SUMS = 8;          // vectors that are added up at once
constexpr int LEAST_PART = 256;  // keys that are worth a task
constexpr int LINE = 64;         // bytes that come together

// One query of one head: the keys that it sees, where it is packed, and its softmax so far (see forward.h).
struct Row {
  Range seen[2];
  float highest[LANES], sum[LANES];  // the one the same in each lane, the other to be added up over them
  float *query, *context;            // of whole vectors
};

struct Decode {
  const AttentionForward& call;
  int shared, rows;         // heads of a kv head, and with the queries of each
  int parts;                // of the keys
  float* results;           // (batch, kv_heads, parts, rows, 2 + value_width): highest score, sum, context times the sum
  std::int32_t* done;       // (batch, kv_heads): how many of the parts
  std::atomic<bool>& lost;  // a page that there is not

  float* of(std::int64_t kv, std::int64_t part, int row) const {
    return results + ((kv * parts + part) * rows + row) * (2 + call.value_width);
  }
  // Heads of one query are neighbours: they see the same keys, most of the time.
  std::int64_t head(std::int64_t kv, int row) const { return kv % call.kv_heads * shared + row % shared; }
  std::int64_t query(int row) const { return row / shared; }
};

// Where the keys (or values) of a run lie; beyond its end the last one again, so that a vector of them can be read.
template <typename T>
struct Places {
  const T* at[RUN + LANES];

  // False if one lies in a page that there is not.
  bool find(const AttentionForward& call, const Tensor& tensor, std::int64_t batch, std::int64_t kv_head, std::int64_t first, int count) {
    const Pages& pages = call.pages;
    int j = 0;
    while (j < count) {
      std::int64_t page = batch, key = first + j, length = call.keys;
      if (pages.table) {
        const std::int64_t entry = batch * pages.batch + key / pages.size * pages.column;
        page = pages.wide ? ((const std::int64_t*)pages.table)[entry] : ((const std::int32_t*)pages.table)[entry];
        if (page < 0 || page >= pages.count) return false;
        key %= pages.size, length = pages.size;
      }
      const Matrix<const T> matrix(tensor, page, kv_head);
      for (; key < length && j < count; ++key, ++j) at[j] = matrix.at(key);
    }
    for (; j < RUN + LANES; ++j) at[j] = at[count - 1];
    return true;
  }

  // Numbers that vectors cannot read where they lie are copied to `room`, (RUN, padded width).
  Places<float> copied(std::ptrdiff_t column, int count, int width, float* room) const {
    Places<float> copies;
    const int padded = rounded(width);
    for (int j = 0; j < count; ++j) {
      int k = 0;
      if (column == 1)
        for (; k + LANES <= width; k += LANES) store(room + j * padded + k, read_lanes(at[j] + k));
      for (; k < padded; ++k) room[j * padded + k] = k < width ? read(at[j] + k * column) : 0.0f;
    }
    for (int j = 0; j < RUN + LANES; ++j) copies.at[j] = room + least(j, count - 1) * padded;
    return copies;
  }
};

// Asks for numbers that will be read soon. The processor foresees rows that follow each other, but neither the next page nor
// rows of which a vector each is read.
template <typename T>
static inline void ask_for(const T* row, int width) {
  for (int k = 0; k < width; k += LINE / (int)sizeof(T)) __builtin_prefetch(row + k);
}

// Scores of some rows, RUN apart, by `count` keys; the last vector has anything beyond them. Values are asked for.
template <int ROWS, typename T>
static void decode_scores(const Row* rows, const T* const* keys, const T* const* values, int count, int width, int value_width,
                          float* scores) {
  constexpr int AT_ONCE = LANES / ROWS;
  for (int j = 0; j < count; j += AT_ONCE) {
    for (int n = 0; n < AT_ONCE; ++n) ask_for(values[j + n], value_width);
    Floats sums[LANES]{};
    for (int k = 0; k < width; k += LANES) {
      Floats numbers[AT_ONCE];
      for (int n = 0; n < AT_ONCE; ++n) numbers[n] = read_lanes(keys[j + n] + k);
      for (int r = 0; r < ROWS; ++r) {
        const Floats query = load(rows[r].query + k);
        for (int n = 0; n < AT_ONCE; ++n) sums[r * AT_ONCE + n] = multiply_add(sums[r * AT_ONCE + n], query, numbers[n]);
      }
    }
    const Floats total = sums_of([&](int i) { return sums[i]; });
    for (int r = 0; r < ROWS; ++r) __builtin_memcpy(scores + r * RUN + j, (const float*)&total + r * AT_ONCE, AT_ONCE * sizeof(float));
  }
}

// In each lane the highest of all lanes.
template <int STEP = LANES / 2, std::size_t... LANE>
static inline Floats highest_of(Floats x, std::index_sequence<LANE...> lanes) {
  x = larger(x, __builtin_shufflevector(x, x, (LANE ^ STEP)...));
  if constexpr (STEP > 1) x = highest_of<STEP / 2>(x, lanes);
  return x;
}

// Scores of a row become weights, up to the division by their sum; what the row holds is brought to the same scale.
static inline void decode_softmax(Row& row, int count, int value_width, float* scores) {
  for (int j = count; j < rounded(count); ++j) scores[j] = -__builtin_inff();
  const Floats before = load(row.highest);
  Floats highest = before;
  for (int j = 0; j < count; j += LANES) highest = larger(load(scores + j), highest);
  highest = highest_of(highest, std::make_index_sequence<LANES>{});
  const Floats base = select(highest == -__builtin_inff(), Floats{}, highest);  // so far nothing was seen
  Floats sum = load(row.sum);
  if (any(highest != before)) {
    const Floats shrink = exp2(before - base);
    sum *= shrink;
    for (int k = 0; k < value_width; k += LANES) store(row.context + k, load(row.context + k) * shrink);
  }
  for (int j = 0; j < count; j += LANES) {
    const Floats weight = exp2(load(scores + j) - base);
    sum += weight;
    store(scores + j, weight);
  }
  store(row.highest, highest), store(row.sum, sum);
}

// Contexts of some rows, from `first` of their width on, gain `count` values. The next keys are asked for.
template <int ROWS, int VECTORS = SUMS / ROWS, typename T>
static void decode_values(const Row* rows, const T* const* values, const T* const* next_keys, int count, int width, int value_width,
                          const float* weights, int first = 0) {
  for (; first + VECTORS * LANES <= value_width; first += VECTORS * LANES) {
    Floats sums[ROWS][VECTORS];
    for (int r = 0; r < ROWS; ++r)
      for (int v = 0; v < VECTORS; ++v) sums[r][v] = load(rows[r].context + first + v * LANES);
    for (int j = 0; j < count; ++j) {
      if (first == 0) ask_for(next_keys[j], width);
      Floats numbers[VECTORS];
      for (int v = 0; v < VECTORS; ++v) numbers[v] = read_lanes(values[j] + first + v * LANES);
      for (int r = 0; r < ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) sums[r][v] = multiply_add(sums[r][v], broadcast(weights[r * RUN + j]), numbers[v]);
    }
    for (int r = 0; r < ROWS; ++r)
      for (int v = 0; v < VECTORS; ++v) store(rows[r].context + first + v * LANES, sums[r][v]);
  }
  if constexpr (VECTORS > 1) decode_values<ROWS, VECTORS / 2>(rows, values, next_keys, count, width, value_width, weights, first);
}

template <int ROWS, typename T>
static void decode_run(Row* rows, const T* const* keys, const T* const* values, const T* const* next_keys, int count, int width,
                       int value_width, float* scores) {
  decode_scores<ROWS>(rows, keys, values, count, width, value_width, scores);
  for (int r = 0; r < ROWS; ++r) decode_softmax(rows[r], count, value_width, scores + r * RUN);
  decode_values<ROWS>(rows, values, next_keys, count, width, value_width, scores);
}

// All rows by a run of keys, widths padded. Neighbours that see the same of it go together.
template <typename T>
static void decode_rows(Row* rows, int count, Range run, const Places<T>& keys, const Places<T>& values, const Places<T>& next_keys,
                        int width, int value_width, float* scores) {
  for (int m = 0; m < 2; ++m)
    for (int r = 0, together; r < count; r += together) {
      const auto seen = [&](int row) {
        return Range{most(run.first, rows[row].seen[m].first), least(run.last, rows[row].seen[m].last)};
      };
      const Range part = seen(r);
      for (together = 1; together < TOGETHER && r + together < count; ++together)
        if (seen(r + together).first != part.first || seen(r + together).last != part.last) break;
      if (together == 3) together = 2;
      if (part.empty()) continue;
      const auto some = together == 4 ? decode_run<4, T> : together == 2 ? decode_run<2, T> : decode_run<1, T>;
      const int skipped = part.first - run.first;
      some(rows + r, keys.at + skipped, values.at + skipped, next_keys.at + skipped, part.last - part.first, width, value_width, scores);
    }
}

constexpr int ROW_NUMBERS = (sizeof(Row) + 63) / 64 * 16;

// Numbers of scratch for each thread.
static inline std::int64_t decode_room(const Decode& task) {
  const int widths = rounded(task.call.width) + rounded(task.call.value_width);
  return (std::int64_t)task.rows * (widths + ROW_NUMBERS) + RUN * (widths + TOGETHER);
}

// The parts of one kv head of one batch row become contexts and log-sum-exps, always in the same order. `room`: value_width
// numbers.
static inline void merge_parts(const Decode& task, std::int64_t kv, float* room) {
  const AttentionForward& call = task.call;
  const int value_width = (int)call.value_width;
  for (int r = 0; r < task.rows; ++r) {
    float highest = -__builtin_inff(), sum = 0.0f;
    for (int part = 0; part < task.parts; ++part) highest = task.of(kv, part, r)[0] < highest ? highest : task.of(kv, part, r)[0];
    const float base = highest == -__builtin_inff() ? 0.0f : highest;
    for (int k = 0; k < value_width; ++k) room[k] = 0.0f;
    for (int part = 0; part < task.parts; ++part) {
      const float *result = task.of(kv, part, r), factor = exp2(broadcast(result[0] - base))[0];
      sum += factor * result[1];
      for (int k = 0; k < value_width; ++k) room[k] += factor * result[2 + k];
    }
    const float share = sum == 0.0f ? 0.0f : 1.0f / sum;
    const Matrix<float> context(call.context, kv / call.kv_heads, task.head(kv, r));
    for (int k = 0; k < value_width; ++k) *context.at(task.query(r), k) = room[k] * share;
    if (call.logsumexp)
      call.logsumexp[(kv / call.kv_heads * call.heads + task.head(kv, r)) * call.queries + task.query(r)] =
          (highest + log2(broadcast(sum))[0]) * LN_2;
  }
}

// One part of the keys of one kv head of one batch row; the last part that is done merges them.
template <typename T>
static void decode_task(const void* given, std::int64_t index, float* room) {
  const Decode& task = *static_cast<const Decode*>(given);
  const AttentionForward& call = task.call;
  const std::int64_t kv = index / task.parts, part = index % task.parts, batch = kv / call.kv_heads, kv_head = kv % call.kv_heads;
  const int width = (int)call.width, value_width = (int)call.value_width, padded = rounded(width), padded_value = rounded(value_width);
  const bool whole = in_vectors(call.key, width) && in_vectors(call.value, value_width);

  Row* rows = (Row*)room;
  room += task.rows * ROW_NUMBERS;
  Visible any;  // what some row sees
  any.count = call.bounds.count, any.keys = (int)call.keys;
  for (int m = 0; m < any.count; ++m) any.some[m] = {any.keys, 0};
  for (int r = 0; r < task.rows; ++r, room += padded + padded_value) {
    Row& row = rows[r];
    row.seen[0] = {0, any.count == 0 ? any.keys : 0}, row.seen[1] = {0, 0};
    row.query = room, row.context = room + padded;
    Visible visible;
    visible.read(call.bounds, batch, task.head(kv, r), task.query(r), 1, any.keys);
    for (int m = 0; m < any.count; ++m) {
      row.seen[m] = {visible.low[m][0], visible.high[m][0]};
      any.some[m] = {least(any.some[m].first, visible.some[m].first), most(any.some[m].last, visible.some[m].last)};
    }
    pack_rows(Matrix<const T>(call.query, batch, task.head(kv, r)), task.query(r), 1, width, row.query, padded);
    for (int k = 0; k < padded; k += LANES) store(row.query + k, load(row.query + k) * (call.scale * LOG2_E));
    for (int k = 0; k < padded_value; k += LANES) store(row.context + k, Floats{});
    store(row.highest, broadcast(-__builtin_inff())), store(row.sum, Floats{});
  }
  float *scores = room, *key_room = scores + TOGETHER * RUN, *value_room = key_room + padded * RUN;

  Range ranges[2];
  const int count = reach(&any, 1, ranges);
  std::int64_t total = 0, passed = 0;
  for (int r = 0; r < count; ++r) total += ranges[r].last - ranges[r].first;
  const std::int64_t from = part * total / task.parts, to = (part + 1) * total / task.parts;
  for (int r = 0; r < count; passed += ranges[r].last - ranges[r].first, ++r) {
    int first = ranges[r].first + (from > passed ? (int)(from - passed) : 0);
    const int end = (int)(to - passed + ranges[r].first < ranges[r].last ? to - passed + ranges[r].first : ranges[r].last);
    if (first >= end) continue;
    Places<T> keys, values, next_keys;
    bool found = next_keys.find(call, call.key, batch, kv_head, first, least(RUN, end - first));
    for (; first < end; first += RUN) {
      const int last = least(first + RUN, end);
      keys = next_keys;
      found = found && values.find(call, call.value, batch, kv_head, first, last - first);
      if (last < end) found = found && next_keys.find(call, call.key, batch, kv_head, last, least(RUN, end - last));
      if (!found) {
        task.lost = true;
        return;
      }
      if (whole) {
        decode_rows(rows, task.rows, {first, last}, keys, values, next_keys, padded, padded_value, scores);
      } else {
        const Places<float> key_copies = keys.copied(call.key.column, last - first, width, key_room);
        const Places<float> value_copies = values.copied(call.value.column, last - first, value_width, value_room);
        decode_rows(rows, task.rows, {first, last}, key_copies, value_copies, key_copies, padded, padded_value, scores);
      }
    }
  }

  for (int r = 0; r < task.rows; ++r) {
    float* result = task.of(kv, part, r);
    result[0] = rows[r].highest[0], result[1] = 0.0f;
    for (const float sum : rows[r].sum) result[1] += sum;
    __builtin_memcpy(result + 2, rows[r].context, (std::size_t)value_width * sizeof(float));
  }
  if (__atomic_add_fetch(task.done + kv, 1, __ATOMIC_ACQ_REL) == task.parts) merge_parts(task, kv, value_room);
}

// Whether a call is computed here: always where keys lie in pages, and else where that is faster.
static inline bool decodes(const AttentionForward& call) {
  return call.pages.table || (!call.rows && !call.weight && call.dropout.threshold == 0 && call.queries <= FEW);
}

static inline Status decode(const AttentionForward& call) noexcept {
  const std::int64_t kvs = call.batch * call.kv_heads;
  if (kvs == 0 || call.heads == 0 || call.queries == 0) return Status::done;
  std::int64_t parts = call.threads == 1 ? 1 : (8 * call.threads + kvs - 1) / kvs;  // of rows of different lengths, too
  if (parts > call.keys / LEAST_PART) parts = call.keys / LEAST_PART;
  if (parts < 1) parts = 1;
  const int shared = (int)(call.heads / call.kv_heads), rows = shared * (int)call.queries;
  const std::int64_t numbers = kvs * parts * rows * (2 + call.value_width);
  float* results = static_cast<float*>(std::malloc((std::size_t)(numbers + kvs) * sizeof(float)));
  if (!results) return Status::no_memory;
  std::int32_t* done = reinterpret_cast<std::int32_t*>(results + numbers);
  for (std::int64_t kv = 0; kv < kvs; ++kv) done[kv] = 0;
  std::atomic<bool> lost{false};
  const Decode task{call, shared, rows, (int)parts, results, done, lost};
  const Task each = call.type == Type::float32 ? decode_task<float> : decode_task<Half>;
  const Status status = run_parallel(call.threads, kvs * parts, (std::size_t)decode_room(task), each, &task);
  std::free(results);
  return status == Status::done && lost ? Status::no_such_page : status;
}

}  // namespace regard::REGARD_ISA
