// What is recorded of the weights of a block, a tile of keys at a time, and what its gradients add to those of weights.
#pragma once

#include "kernels/normalize.h"

namespace regard::REGARD_ISA {

constexpr float LEAST = 1.17549435e-38f;  // a logarithm never sees less

struct Observer {
  const Attention& call;
  const Block& block;
  const int part;
  float* const room;

  static std::int64_t numbers_of(const Observation& one) { return (one.kind == Observation::top_k ? 2 * one.first : 2) * QUERIES; }
  static std::int64_t room_of(const Rows& rows) {
    std::int64_t numbers = 0;
    for (int n = 0; n < rows.observation_count; ++n) numbers += numbers_of(rows.observations[n]);
    return numbers;
  }
  // Whether rows without weight matter too.
  static bool needs_all(const Rows& rows) {
    bool found = false;
    for (int n = 0; n < rows.observation_count; ++n) found |= rows.observations[n].kind == Observation::top_k;
    return found;
  }

  Observer(const Attention& call_, const Block& block_, int part_, float* room_) : call(call_), block(block_), part(part_), room(room_) {
    each([&](const Observation& one, float* state) {
      const bool ordered = one.kind == Observation::top_k;  // weights, and their keys
      for (std::int64_t n = 0; n < numbers_of(one) / 2; ++n) state[n] = ordered ? -1.0f : 0.0f;
      state += numbers_of(one) / 2;
      for (std::int64_t n = 0; n < numbers_of(one) / 2; ++n) {
        if (ordered)
          ((std::int32_t*)state)[n] = -1;
        else
          state[n] = 0.0f;
      }
    });
  }

  // Of the scores that a normaliser is given.
  void see_scores(const Kept& kept) const {
    each([&](const Observation& one, float*) {
      if (one.kind != Observation::max_score && one.kind != Observation::log_sum_exp) return;
      for (int lane = 0; lane < block.lanes; lane += LANES) {
        Floats found = highest_of(kept.numbers + lane, kept.count);
        if (one.kind == Observation::log_sum_exp) found = log_sum_exp(kept.numbers + lane, kept.count, found);
        for (int l = 0; l < LANES && lane + l < block.queries; ++l) one.data[place(lane + l)] = found[l];
      }
    });
  }
  static Floats log_sum_exp(const float* numbers, int count, Floats highest) {
    const Floats base = select(highest == -__builtin_inff(), Floats{}, highest);
    Floats sum{};
    for (int n = 0; n < count; ++n) sum += exp2((load(numbers + n * QUERIES) - base) * LOG2_E);
    return base + log2(sum) * LN_2;
  }

  // Of the weights. `allow(lane, key)` says which may be seen, and `all` that every one of this tile is.
  template <typename Allow>
  void see(const Tile& tile, bool all, const Allow& allow) const {
    each([&](const Observation& one, float* state) {
      switch (one.kind) {
        case Observation::top_k: see_highest(one, tile, all, allow, state, (std::int32_t*)(state + one.first * QUERIES)); break;
        case Observation::received: see_received(one, tile); break;
        case Observation::pooled: see_pooled(one, tile); break;
        case Observation::rows: see_rows(one, tile); break;
        case Observation::entropy:
          if (call.rows->normalizer == Rows::softmax) break;  // which knows it
          add_up(tile, state, [&](Floats weight, int, int) {
            return weight * log2(weight > LEAST ? weight : broadcast(LEAST)) * -LN_2;
          });
          break;
        case Observation::mass:
          add_up(tile, state, [&](Floats weight, int, int key) {
            return one.chosen ? weight * one.chosen[block.batch * one.chosen_batch + key] : weight;
          });
          break;
        case Observation::distance: {
          const Positions query(block, one.query_positions, one.query_batch);
          const std::int32_t* const positions = one.key_positions + block.batch * one.key_batch;
          add_up(tile, state, [&](Floats weight, int lane, int key) {
            const Ints apart = load(query.at + lane) - broadcast(positions[key]);
            return weight * __builtin_convertvector(apart < 0 ? -apart : apart, Floats);
          });
          add_up(tile, state + QUERIES, [](Floats weight, int, int) { return weight; });
          break;
        }
        default: break;
      }
    });
  }

  void finish(const PerQuery& found) const {
    each([&](const Observation& one, float* state) {
      if (one.kind == Observation::entropy && call.rows->normalizer == Rows::softmax)
        for (int lane = 0; lane < block.lanes; lane += LANES) store(state + lane, found.entropy[lane / LANES]);
      for (int i = 0; i < block.queries; ++i) switch (one.kind) {
          case Observation::entropy: case Observation::mass: one.data[place(i)] = state[i]; break;
          case Observation::distance:
            one.data[place(i)] = state[i] / (state[QUERIES + i] == 0.0f ? 1.0f : state[QUERIES + i]);
            break;
          case Observation::top_k:
            for (int r = 0; r < one.first; ++r) {
              const float weight = state[r * QUERIES + i];
              const std::int32_t key = ((const std::int32_t*)state)[(one.first + r) * QUERIES + i];
              one.keys[place(i) * one.first + r] = key;
              one.data[place(i) * one.first + r] = key < 0 ? 0.0f : weight == __builtin_inff() ? __builtin_nanf("") : weight;
            }
            break;
          default: break;
        }
    });
  }

 private:
  std::int64_t head() const { return block.batch * call.heads + block.head; }
  std::int64_t place(int i) const { return head() * call.queries + block.first + i; }

  template <typename Use>
  void each(const Use& use) const {
    float* state = room;
    for (int n = 0; n < call.rows->observation_count; ++n) {
      use(call.rows->observations[n], state);
      state += numbers_of(call.rows->observations[n]);
    }
  }

  template <typename Part>
  void add_up(const Tile& tile, float* sums, const Part& part_of) const {
    for (int lane = 0; lane < block.lanes; lane += LANES) {
      Floats sum = load(sums + lane);
      for (int n = 0; n < tile.count; ++n) sum += part_of(load(tile.numbers + n * QUERIES + lane), lane, tile.keys[n]);
      store(sums + lane, sum);
    }
  }

  // The highest weights so far, in order; of equal ones the first came first, and stays before. NaN is the highest of all.
  template <typename Allow>
  void see_highest(const Observation& one, const Tile& tile, bool all, const Allow& allow, float* weights, std::int32_t* keys) const {
    const int last = (int)(one.first - 1) * QUERIES;
    for (int lane = 0; lane < block.lanes; lane += LANES) {
      Floats least = load(weights + last + lane);
      for (int n = 0; n < tile.count; ++n) {
        Floats weight = load(tile.numbers + n * QUERIES + lane);
        if (!any(~(weight <= least))) continue;
        weight = select(weight != weight, broadcast(__builtin_inff()), weight);
        if (!all) weight = select(allow(lane, tile.keys[n]), weight, broadcast(-1.0f));
        Ints key = broadcast(tile.keys[n]), more{};  // from its place on, all others move
        for (int r = lane; r <= last + lane; r += QUERIES) {
          const Floats held = load(weights + r);
          const Ints its = load(keys + r);
          more |= weight > held;
          store(weights + r, more ? weight : held), store((float*)keys + r, (Floats)(more ? key : its));
          weight = more ? held : weight, key = more ? its : key;
        }
        least = load(weights + last + lane);
      }
    }
  }

  void see_received(const Observation& one, const Tile& tile) const {
    float* const to = one.data + (head() * call.rows->parts + part) * call.keys;
    const auto sum_of = [&](int n) {
      Floats sum{};
      for (int lane = 0; lane < block.lanes; lane += LANES) sum += load(tile.numbers + n * QUERIES + lane);
      return sum;
    };
    int n = 0;
    for (; n + LANES <= tile.count; n += LANES) {
      const Floats sums = sums_of([&](int i) __attribute__((always_inline)) { return sum_of(n + i); });
      if (tile.together(n))
        store(to + tile.keys[n], load(to + tile.keys[n]) + sums);
      else
        for (int l = 0; l < LANES; ++l) to[tile.keys[n + l]] += sums[l];
    }
    for (; n < tile.count; ++n) {
      const Floats sums = sum_of(n);
      for (int l = 0; l < LANES; ++l) to[tile.keys[n]] += sums[l];
    }
  }

  void see_pooled(const Observation& one, const Tile& tile) const {
    float* const to = one.data + (head() * call.rows->parts + part) * one.first * one.second;
    std::int64_t row[QUERIES] = {};
    for (int i = 0; i < block.queries; ++i) row[i] = (block.first + i) * one.first / call.queries * one.second;
    const bool together = row[0] == row[block.queries - 1];  // all queries in one row, as long calls have them
    for (int n = 0; n < tile.count;) {
      const std::int64_t column = tile.keys[n] * one.second / call.keys, end = ((column + 1) * call.keys + one.second - 1) / one.second;
      int next = n;
      while (next < tile.count && tile.keys[next] < end) ++next;
      Floats all{};
      for (int lane = 0; lane < block.lanes; lane += LANES) {
        Floats sum{};
        for (int j = n; j < next; ++j) sum += load(tile.numbers + j * QUERIES + lane);
        all += sum;
        for (int l = 0; l < LANES && lane + l < block.queries && !together; ++l) to[row[lane + l] + column] += sum[l];
      }
      for (int l = 0; l < LANES && together; ++l) to[row[0] + column] += all[l];
      n = next;
    }
  }

  void see_rows(const Observation& one, const Tile& tile) const {
    for (std::int64_t r = 0; r < one.first; ++r) {
      const std::int64_t i = one.keys[r] - block.first;
      if (i < 0 || i >= block.queries) continue;
      float* const to = one.data + (head() * one.first + r) * call.keys;
      for (int n = 0; n < tile.count; ++n) to[tile.keys[n]] = tile.numbers[n * QUERIES + i];
    }
  }
};

// Add to the gradients of a tile of weights what comes from what was recorded of them.
static inline void add_observed(const Attention& call, const Block& block, const Tile& weights, float* gradients) {
  const std::int64_t head = block.batch * call.heads + block.head, place = head * call.queries + block.first;
  for (int o = 0; o < call.rows->observation_count; ++o) {
    const Observation& one = call.rows->observations[o];
    if (!one.gradient) continue;
    if (one.kind == Observation::rows) {
      for (std::int64_t r = 0; r < one.first; ++r) {
        const std::int64_t i = one.keys[r] - block.first;
        if (i < 0 || i >= block.queries) continue;
        const float* const from = one.gradient + (head * one.first + r) * call.keys;
        for (int n = 0; n < weights.count; ++n) gradients[n * QUERIES + i] += from[weights.keys[n]];
      }
      continue;
    }
    float of_query[QUERIES] = {};
    for (int i = 0; i < block.queries && one.kind != Observation::received; ++i) of_query[i] = one.gradient[place + i];
    for (int n = 0; n < weights.count; ++n) {
      const int key = weights.keys[n];
      for (int lane = 0; lane < block.lanes; lane += LANES) {
        float* at = gradients + n * QUERIES + lane;
        const Floats weight = load(weights.numbers + n * QUERIES + lane), given = load(of_query + lane);
        if (one.kind == Observation::received) store(at, load(at) + one.gradient[head * call.keys + key]);
        if (one.kind == Observation::mass)
          store(at, load(at) + (one.chosen ? given * one.chosen[block.batch * one.chosen_batch + key] : given));
        if (one.kind == Observation::entropy) {
          const Floats inner = select(weight < LEAST, Floats{}, broadcast(1.0f));  // below, the logarithm is held
          store(at, load(at) - given * (log2(weight > LEAST ? weight : broadcast(LEAST)) * LN_2 + inner));
        }
      }
    }
  }
}

}  // namespace regard::REGARD_ISA
