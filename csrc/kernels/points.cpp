// Attention to points of maps: a query's keys and values are mixed from cells, attended to and forgotten, in the first caches.
//
// Forward a task is a query. Backward it is some heads of all queries of a picture, so that no two tasks add to the same numbers,
// and what is added up is so in the same order by any number of threads.

#include "kernels/points.h"

#include "kernels/along.h"
#include "kernels/block.h"
#include "kernels/entries.h"
#include "kernels/workspace.h"
#include "parallel/parallel.h"
#include "simd/exp2.h"
#include "simd/transpose.h"

namespace regard::REGARD_ISA {
namespace {

constexpr std::int64_t FEW = 1 << 16;  // numbers to be mixed that are not worth a second thread

std::int64_t whole(std::int64_t numbers) { return (numbers + LANES - 1) / LANES * LANES; }

// Some heads of a call, each a whole number of vectors wide in scratch.
struct Heads {
  std::int64_t first, count, padded;
};

// The four cells around a point of a map, and how much each counts.
struct Corners {
  std::int64_t cell[4];
  float share[4];

  Corners(const float* where, std::int64_t rows, std::int64_t columns) {
    std::int64_t low[2], high[2];
    float part[2];
    for (int side = 0; side < 2; ++side) {
      const std::int64_t most = (side ? rows : columns) - 1;
      const float at = where[side] * (float)(most + 1) - 0.5f;
      const float inside = !(at > 0.0f) ? 0.0f : at < (float)most ? at : (float)most;
      low[side] = (std::int64_t)inside, high[side] = least_of(low[side] + 1, most);
      part[side] = at != at ? at : inside - (float)low[side];  // NaN is no place, and stays NaN
    }
    for (int corner = 0; corner < 4; ++corner) {
      const std::int64_t column = corner & 1 ? high[0] : low[0], row = corner & 2 ? high[1] : low[1];
      cell[corner] = row * columns + column;
      share[corner] = (corner & 1 ? part[0] : 1.0f - part[0]) * (corner & 2 ? part[1] : 1.0f - part[1]);
    }
  }
};

// Does `one(key, corners, first cell of the map)` for each key of a query.
template <typename One>
INLINE inline void each_key(const Points& call, std::int64_t at, const One& one) {
  std::int64_t first = 0;
  for (std::int64_t level = 0, key = 0; level < call.levels; ++level) {
    const std::int64_t rows = call.sizes[2 * level], columns = call.sizes[2 * level + 1];
    for (std::int64_t point = 0; point < call.points; ++point, ++key)
      one(key, Corners(call.where + 2 * (at * call.points + point), rows, columns), first);
    first += rows * columns;
  }
}

// What a task has of one query: everything of its heads, in scratch.
struct Query {
  const Points& call;
  const Heads heads;
  const std::int64_t keys, lanes, row;  // lanes: keys, as whole vectors; row: a row of all heads in scratch
  float *query, *key, *value, *weight;  // (heads, padded), (keys, heads, padded) twice, (heads, lanes)

  Query(const Points& call_, Heads heads_, float* room)
      : call(call_), heads(heads_), keys(call_.levels * call_.points), lanes(whole(keys)), row(heads_.count * heads_.padded) {
    query = room, key = query + row, value = key + keys * row, weight = value + keys * row;
  }
  static std::int64_t room(std::int64_t keys, std::int64_t heads, std::int64_t padded) {
    return heads * padded * (2 * keys + 1) + heads * whole(keys);
  }
  std::int64_t width() const { return call.heads * call.width; }

  // A row of `heads` that lies side by side elsewhere.
  void copy(const float* from, float* to) const {
    for (std::int64_t head = 0; head < heads.count; ++head)
      along(0, call.width, [&](std::int64_t k, int count) INLINE {
        store(to + head * heads.padded + k, read_some(from + (heads.first + head) * call.width + k, count));
      });
  }

  // Reads query number `at` of all pictures, its keys and values, and weighs them.
  void attend(std::int64_t at) {
    copy(call.query + at * width(), query);
    const float* memory = call.memory + at / call.queries * call.cells * 2 * width();
    each_key(call, at, [&](std::int64_t n, const Corners& corners, std::int64_t first) {
      const float* from[4];
      for (int c = 0; c < 4; ++c) from[c] = memory + (first + corners.cell[c]) * 2 * width();
      const float *place = call.place + n * width(), *share = corners.share;
      for (std::int64_t head = 0; head < heads.count; ++head) {
        const std::int64_t begin = (heads.first + head) * call.width, to = n * row + head * heads.padded;
        along(0, call.width, [&](std::int64_t k, int count) INLINE {
          Floats of_key = read_some(place + begin + k, count), of_value{};
          for (int c = 0; c < 4; ++c) {
            of_key += share[c] * read_some(from[c] + begin + k, count);
            of_value += share[c] * read_some(from[c] + width() + begin + k, count);
          }
          store(key + to + k, of_key), store(value + to + k, of_value);
        });
      }
    });
    for (std::int64_t head = 0; head < heads.count; ++head) soften(head);
  }

  // The products of a row of `heads` with each key's row of them, LANES keys at a time; beyond the last key it is that one's.
  Floats products(const float* one, const float* rows, std::int64_t head, std::int64_t first) const {
    const std::int64_t at = head * heads.padded;
    return sums_of([&](int lane) INLINE {
      const float* other = rows + least_of(first + lane, keys - 1) * row + at;
      Floats sum{};
      for (std::int64_t k = 0; k < heads.padded; k += LANES) sum += load(one + at + k) * load(other + k);
      return sum;
    });
  }

  void soften(std::int64_t head) {
    float *to = weight + head * lanes, top = -__builtin_inff(), total = 0.0f;
    for (std::int64_t n = 0; n < lanes; n += LANES) store(to + n, products(query, key, head, n) * (call.scale * LOG2_E));
    for (std::int64_t n = 0; n < keys; ++n) top = to[n] > top || to[n] != to[n] ? to[n] : top;
    for (std::int64_t n = 0; n < lanes; n += LANES) store(to + n, exp2(load(to + n) - top));
    for (std::int64_t n = 0; n < keys; ++n) total += to[n];
    for (std::int64_t n = 0; n < lanes; n += LANES) store(to + n, load(to + n) / total);
  }

  // The mixture of all rows of a head.
  Floats mixture(const float* weights, const float* rows, std::int64_t head, std::int64_t k) const {
    Floats sum{}, other{};
    const float* from = rows + head * heads.padded + k;
    std::int64_t n = 0;
    for (; n + 2 <= keys; n += 2) sum += weights[n] * load(from + n * row), other += weights[n + 1] * load(from + (n + 1) * row);
    if (n < keys) sum += weights[n] * load(from + n * row);
    return sum + other;
  }
};

void clear(float* numbers, std::int64_t count) {
  for (std::int64_t n = 0; n < count; ++n) numbers[n] = 0.0f;
}

void forward_task(const void* given, std::int64_t at, float* room) {
  const PointsForward& call = *static_cast<const PointsForward*>(given);
  Query query(call, {0, call.heads, whole(call.width)}, room);
  clear(room, query.row * (2 * query.keys + 1));  // where a head is no whole vector nothing else may lie
  query.attend(at);
  for (std::int64_t head = 0; head < call.heads; ++head)
    along(0, call.width, [&](std::int64_t k, int count) INLINE {
      write_some(call.context + at * query.width() + head * call.width + k,
                 query.mixture(query.weight + head * query.lanes, query.value, head, k), count);
    });
}

// What a backward pass has beside its call.
struct Going {
  const PointsBackward& call;
  std::int64_t groups;  // of heads
  float* places;        // (batch, keys, heads, width): the gradient of `place`, picture by picture
};

// Adds the gradients of one query to those of what it read.
struct Return {
  const PointsBackward& call;
  Query& query;
  float *gradient, *of_score;  // of the context (heads, padded), and of scores (heads, lanes)
  float* of_place;             // (keys, heads, width)

  void pass(std::int64_t at) {
    query.copy(call.context_gradient + at * query.width(), gradient);
    for (std::int64_t head = 0; head < query.heads.count; ++head) score(head), derive_query(at, head);
    float* const memory = call.memory_gradient + at / call.queries * call.cells * 2 * query.width();
    each_key(call, at, [&](std::int64_t n, const Corners& corners, std::int64_t first) { derive_key(n, corners, memory, first); });
  }

  // softmax: weight * (gradient - the mean of all gradients by their weights), and the scale of scores.
  void score(std::int64_t head) {
    float *to = of_score + head * query.lanes, mean = 0.0f;
    const float* weight = query.weight + head * query.lanes;
    for (std::int64_t n = 0; n < query.lanes; n += LANES) store(to + n, query.products(gradient, query.value, head, n));
    for (std::int64_t n = 0; n < query.keys; ++n) mean += weight[n] * to[n];
    for (std::int64_t n = 0; n < query.lanes; n += LANES) store(to + n, load(weight + n) * (load(to + n) - mean) * call.scale);
  }

  void derive_query(std::int64_t at, std::int64_t head) const {
    along(0, call.width, [&](std::int64_t k, int count) INLINE {
      write_some(call.query_gradient + at * query.width() + (query.heads.first + head) * call.width + k,
                 query.mixture(of_score + head * query.lanes, query.key, head, k), count);
    });
  }

  void derive_key(std::int64_t n, const Corners& corners, float* memory, std::int64_t first) const {
    for (std::int64_t head = 0; head < query.heads.count; ++head) {
      const std::int64_t begin = (query.heads.first + head) * call.width, from = head * query.heads.padded;
      const float of_key = of_score[head * query.lanes + n], of_value = query.weight[head * query.lanes + n];
      along(0, call.width, [&](std::int64_t k, int count) INLINE {
        const Floats key = of_key * load(query.query + from + k), value = of_value * load(gradient + from + k);
        add(of_place + n * query.width() + begin + k, key, count);
        for (int c = 0; c < 4; ++c) {
          float* to = memory + (first + corners.cell[c]) * 2 * query.width() + begin + k;
          add(to, corners.share[c] * key, count), add(to + query.width(), corners.share[c] * value, count);
        }
      });
    }
  }

  INLINE static void add(float* to, Floats x, int count) { write_some(to, read_some(to, count) + x, count); }
};

void backward_task(const void* given, std::int64_t index, float* room) {
  const Going& going = *static_cast<const Going*>(given);
  const PointsBackward& call = going.call;
  const std::int64_t picture = index / going.groups, group = index % going.groups, width = call.heads * call.width;
  const std::int64_t begin = call.heads * group / going.groups, end = call.heads * (group + 1) / going.groups;
  Query query(call, {begin, end - begin, whole(call.width)}, room);
  const std::int64_t own = Query::room(query.keys, query.heads.count, query.heads.padded);
  clear(room, own + query.row);
  Return back{call, query, room + own, room + own + query.row, going.places + picture * query.keys * width};
  const std::int64_t some = query.heads.count * call.width;
  for (std::int64_t n = 0; n < query.keys; ++n) clear(back.of_place + n * width + begin * call.width, some);
  for (std::int64_t row = 0; row < 2 * call.cells; ++row)
    clear(call.memory_gradient + (picture * 2 * call.cells + row) * width + begin * call.width, some);
  for (std::int64_t at = picture * call.queries; at < (picture + 1) * call.queries; ++at) query.attend(at), back.pass(at);
}

int threads_of(const Points& call) {
  return call.batch * call.queries * call.levels * call.points * call.heads * call.width < FEW ? 1 : call.threads;
}

}  // namespace

Status points(const PointsForward& call) noexcept {
  const std::int64_t room = Query::room(call.levels * call.points, call.heads, whole(call.width));
  return run_parallel(threads_of(call), call.batch * call.queries, (std::size_t)room, forward_task, &call);
}

Status points_backward(const PointsBackward& call) noexcept {
  const std::int64_t keys = call.levels * call.points, numbers = keys * call.heads * call.width;
  const std::int64_t wanted = call.batch ? (threads_of(call) + call.batch - 1) / call.batch : 1;  // tasks for all threads
  const std::int64_t groups = least_of(wanted, call.heads), heads = (call.heads + groups - 1) / groups;
  Workspace space(call.batch * numbers);
  if (!space) return Status::no_memory;
  const Going going{call, groups, space.take(call.batch * numbers)};
  const std::int64_t room = Query::room(keys, heads, whole(call.width)) + heads * (whole(call.width) + whole(keys));
  const Status status = run_parallel(threads_of(call), call.batch * groups, (std::size_t)room, backward_task, &going);
  if (status != Status::done) return status;
  clear(call.place_gradient, numbers);
  for (std::int64_t picture = 0; picture < call.batch; ++picture)
    for (std::int64_t n = 0; n < numbers; ++n) call.place_gradient[n] += going.places[picture * numbers + n];
  return Status::done;
}

}  // namespace regard::REGARD_ISA
