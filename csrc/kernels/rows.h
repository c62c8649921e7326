// Attention whose rows of weights are kept: the scores of some queries and all keys that they may see, with their terms;
// then any normaliser, whatever is to be recorded, and the context. Forward.
#pragma once

#include "kernels/additive.h"
#include "kernels/observe.h"

namespace regard::REGARD_ISA {

// The keys that a group may see.
struct Reached {
  Range ranges[2];
  int count, total = 0;
  Visible visible[MOST_BLOCKS];

  Reached(const Attention& call, const Group& group) {
    for (int b = 0; b < group.blocks(); ++b)
      visible[b].read(call.bounds, group.batch, group.head, group.first_of(b), group.queries_of(b), (int)call.keys);
    count = reach(visible, group.blocks(), ranges);
    for (int r = 0; r < count; ++r) total += ranges[r].last - ranges[r].first;
  }
  int key_of(int row) const {
    const int first = count > 0 ? ranges[0].last - ranges[0].first : 0;
    return row < first ? ranges[0].first + row : ranges[1].first + row - first;
  }
};

// What each block of a group keeps.
struct KeptBlock {
  float *query, *numbers, *slopes;  // (width, QUERIES), (total, QUERIES), and those of the cap or null
};

static inline std::int64_t kept_room(const Attention& call, int queries, bool slopes) {
  return queries * (call.width + call.keys * (slopes ? 2 : 1)) + KEYS * (call.width + 1);
}

// The scores of all blocks, with their terms, -inf where a query may not look.
template <typename Score>
static void keep_scores(const Group& group, const Reached& reached, Score& score, const Terms& terms, KeptBlock* kept, float* room) {
  int* const keys_of = (int*)room;
  room += KEYS;
  for (int b = 0; b < group.blocks(); ++b) score.pack(group.first_of(b), group.queries_of(b), kept[b].query);
  std::int64_t at = 0;
  for (int r = 0; r < reached.count; ++r)
    for (int first = reached.ranges[r].first; first < reached.ranges[r].last; first += KEYS) {
      const int keys = least(KEYS, reached.ranges[r].last - first);
      const Left<float> rows = score.rows(first, keys, room);
      for (int j = 0; j < keys; ++j) keys_of[j] = first + j;
      for (int b = 0; b < group.blocks(); ++b) {
        const Block block(group, b);
        const Range run = reached.visible[b].within(first, first + keys, 1);
        const int length = run.last - run.first, skipped = run.first - first;
        float* to = kept[b].numbers + at * QUERIES;
        for (int n = 0; n < keys * QUERIES && length < keys; ++n) to[n] = -__builtin_inff();
        if (float* const slopes = kept[b].slopes)  // they are multiplied with zero there: anything else could be NaN
          for (std::int64_t n = 0; n < keys * QUERIES && length < keys; ++n) slopes[at * QUERIES + n] = 0.0f;
        if (run.empty()) continue;
        to += skipped * QUERIES;
        score.scores({rows.data + skipped * rows.row, rows.row, rows.step}, kept[b].query, length, block.lanes, to);
        terms.add(block, {keys_of + skipped, length, to}, kept[b].slopes ? kept[b].slopes + (at + skipped) * QUERIES : nullptr);
        if (!reached.visible[b].whole(run)) hide(reached.visible[b], run.first, length, block.lanes, to);
      }
      at += keys;
    }
}

// Which keys the rows of a block are of, and in what order they are used.
struct Order {
  int *rows, *keys;

  static std::int64_t room(const Attention& call) { return 2 * call.keys; }
  Order(const Attention& call, float* room) : rows((int*)room), keys((int*)room + call.keys) {}

  // All rows; of a query alone (EXACT) those that it may see, so that nothing else can reach it, be it multiplied with zero.
  Kept begin(const Reached& reached, const Terms& terms, const Block& block, float* numbers, bool exact) const {
    for (int n = 0; n < reached.total; ++n) rows[n] = n;
    Kept kept{numbers, rows, reached.total};
    if (exact && terms.hides())
      kept.filter([&](const float* from, float* to, int n) {
        for (int lane = 0; lane < block.lanes; lane += LANES) store(to + lane, load(from + lane));
        return terms.allow(block, 0, reached.key_of(n))[0] != 0;
      });
    return kept;
  }
  void end(const Reached& reached, const Kept& kept) const {
    for (int n = 0; n < kept.count; ++n) keys[n] = reached.key_of(rows[n]);
  }
  static Tile tile(const int* keys, const Kept& kept, int at) {
    return {keys + at, least(KEYS, kept.count - at), kept.numbers + at * QUERIES};
  }
};

template <typename Score>
static std::int64_t rows_forward_room(const Attention& call, int queries) {
  return Score::room(call) + Terms::room(*call.rows) + kept_room(call, queries, false) + Order::room(call) +
         Observer::room_of(*call.rows) + (KEYS + QUERIES) * call.value_width;
}

// The contexts of a group; false where one is no finite number. Records what is to be recorded unless it `observes` nothing.
template <typename Score>
static bool rows_forward_group(const AttentionForward& call, const Group& group, int part, bool exact, bool observes, float* room) {
  const int value_width = (int)call.value_width;
  const Matrix<const float> value(call.value, group.batch, group.kv_head);
  const Matrix<float> context(call.context, group.batch, group.head);
  const auto take = [&room](std::int64_t numbers) {
    float* taken = room;
    room += numbers;
    return taken;
  };
  const Reached reached(call, group);
  Score score(call, group, reached.ranges, reached.count, 1.0f, take(Score::room(call)));
  const Terms terms(*call.rows, group, part, take(Terms::room(*call.rows)));
  const Normalizer normalizer(*call.rows, group.head, Observer::needs_all(*call.rows));
  KeptBlock blocks[MOST_BLOCKS];
  for (int b = 0; b < group.blocks(); ++b)
    blocks[b] = {take(call.width * QUERIES), take((std::int64_t)reached.total * QUERIES), nullptr};
  keep_scores(group, reached, score, terms, blocks, room);

  const Order order(call, take(Order::room(call)));
  float *observed = take(Observer::room_of(*call.rows)), *values = take(KEYS * value_width), *sums = take(QUERIES * value_width);
  Ints strange{};
  for (int b = 0; b < group.blocks(); ++b) {
    const Block block(group, b);
    const Visible& visible = reached.visible[b];
    const Observer observer(call, block, part, observed);
    Keep keep;
    if (call.dropout.threshold > 0) keep.read(call.dropout, block.batch, block.head, block.first);
    Kept kept = order.begin(reached, terms, block, blocks[b].numbers, exact);
    if (observes) observer.see_scores(kept);
    PerQuery found;
    normalizer.weigh(block, kept, found);
    order.end(reached, kept);
    for (int n = 0; n < value_width * QUERIES; ++n) sums[n] = 0.0f;
    for (int at = 0; at < kept.count; at += KEYS) {
      const Tile tile = Order::tile(order.keys, kept, at);
      const Range run{tile.keys[0], tile.keys[tile.count - 1] + 1};
      if (visible.within(run.first, run.last, 1).empty()) continue;
      if (observes)
        observer.see(tile, visible.whole(run) && !terms.hides(), [&](int lane, int key) {
          const Ints allowed = terms.allow(block, lane, key);
          return visible.count > 0 ? visible.see(lane, key) & allowed : allowed;
        });
      for (int n = 0; n < tile.count && call.dropout.threshold > 0; ++n)
        for (int lane = 0; lane < block.lanes; lane += LANES) {
          float* number = tile.numbers + n * QUERIES + lane;
          store(number, load(number) * keep.factor(lane, tile.keys[n]));
        }
      const Left<float> rows = rows_of(value, tile, value_width, values);
      product<true>(Left<float>{rows.data, rows.step, rows.row}, tile.numbers, QUERIES, value_width, block.lanes, tile.count, sums, QUERIES);
    }
    if (observes) observer.finish(found);
    for (int k = 0; k < value_width; ++k)
      for (int lane = 0; lane < block.lanes; lane += LANES) strange |= load(sums + k * QUERIES + lane) * 0.0f != 0.0f;
    unpack_columns(sums, QUERIES, block.queries, value_width, context, block.first);
  }
  return !any(strange);
}

// As it is fast; and a query at a time where a value that some may not see is no finite number, or one would be left out.
template <typename Score>
static void rows_forward(const AttentionForward& call, const Group& group, int part, float* room) {
  bool plain = true;
  if (Normalizer::gathers(*call.rows)) {
    const Reached reached(call, group);
    const Matrix<const float> value(call.value, group.batch, group.kv_head);
    for (int r = 0; r < reached.count; ++r) plain &= finite(value, reached.ranges[r].first, reached.ranges[r].last, (int)call.value_width);
  }
  if (plain && rows_forward_group<Score>(call, group, part, false, true, room)) return;
  for (int i = 0; i < group.queries; ++i)
    rows_forward_group<Score>(call, group.query(i), part, true, !plain, room);
}

}  // namespace regard::REGARD_ISA
