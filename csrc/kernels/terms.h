// What is added to the scores of a block's pairs before they are normalised, and its gradient; and the cap of the scores.
#pragma once

#include "kernels/block.h"

namespace regard::REGARD_ISA {

// Some queries of one head, a query a lane, and how far the lanes are filled.
struct Block {
  std::int64_t batch, head, first;
  int queries, lanes;

  Block(const Group& group, int b)
      : batch(group.batch), head(group.head), first(group.first_of(b)), queries(group.queries_of(b)), lanes(rounded(queries)) {}

  // Of the lanes from `lane` on, those of queries: 0 or -1.
  Ints in(int lane) const {
    Ints found;
    for (int l = 0; l < LANES; ++l) found[l] = lane + l < queries ? -1 : 0;
    return found;
  }
};

// Positions of a block's queries. Beyond them stands whatever follows, so that what lies together stays so.
struct Positions {
  std::int32_t at[QUERIES];
  bool together = true;

  Positions(const Block& block, const std::int32_t* from, std::int64_t batch_stride) {
    from += block.batch * batch_stride + block.first;
    for (int i = 0; i < QUERIES; ++i) {
      at[i] = i < block.queries ? from[i] : i > 0 ? at[i - 1] + 1 : 0;
      together &= i == 0 || at[i] == at[i - 1] + 1;
    }
  }
};

// The table of displacements of a head, turned and with its ends repeated for one more vector, so that neighbouring queries
// read neighbouring numbers; and places for its gradient, of which neighbouring keys use different ones: what is added to
// the number just written would wait for it.
struct RelativeTable {
  float *numbers, *places;
  std::int64_t length, low, high;

  static std::int64_t room(const Term& term) { return (term.span + 2 * LANES) * (term.gradient.data ? 1 + LANES : 1); }

  void read(const Term& term, std::int64_t batch, std::int64_t head, float* room) {
    length = term.span + 2 * LANES, low = term.low, high = term.low + term.span - 1;
    numbers = room, places = room + length;
    const float* from = (const float*)term.tensor.data + batch * term.tensor.batch + head * term.tensor.head;
    for (std::int64_t t = 0; t < length; ++t) numbers[t] = from[index(t) * term.tensor.column];
    for (std::int64_t n = 0; term.gradient.data && n < LANES * length; ++n) places[n] = 0.0f;
  }
  std::int64_t index(std::int64_t t) const {  // in the term's table
    const std::int64_t displacement = high + LANES - t;
    return (displacement < low ? low : displacement > high ? high : displacement) - low;
  }
  std::int64_t place(std::int64_t displacement) const {
    const std::int64_t t = high + LANES - displacement;
    return t < 0 ? 0 : t > length - LANES ? length - LANES : t;
  }
  void add_gradient(const Term& term, std::int64_t batch, std::int64_t head, int part) const {
    float* to = (float*)term.gradient.data + part * term.part + batch * term.gradient.batch + head * term.gradient.head;
    for (int copy = 0; copy < LANES; ++copy)
      for (std::int64_t t = 0; t < length; ++t) to[index(t) * term.gradient.column] += places[copy * length + t];
  }
};

// The terms of one head, for a group of its queries.
struct Terms {
  const Rows& rows;
  const std::int64_t batch, head;
  const int part;
  RelativeTable tables[MOST_TERMS];

  static std::int64_t room(const Rows& rows) {
    std::int64_t numbers = 0;
    for (int t = 0; t < rows.term_count; ++t)
      if (rows.terms[t].kind == Term::relative) numbers += RelativeTable::room(rows.terms[t]);
    return numbers;
  }

  Terms(const Rows& rows_, const Group& group, int part_, float* room) : rows(rows_), batch(group.batch), head(group.head), part(part_) {
    for (int t = 0; t < rows.term_count; ++t)
      if (rows.terms[t].kind == Term::relative) {
        tables[t].read(rows.terms[t], batch, head, room);
        room += RelativeTable::room(rows.terms[t]);
      }
  }

  // Scores become what the normaliser sees; `slopes`, where not null, are those of the cap.
  void add(const Block& block, const Tile& tile, float* slopes) const {
    for (int n = 0; n < tile.count && rows.cap > 0.0f; ++n)
      for (int lane = 0; lane < block.lanes; lane += LANES) {
        float* at = tile.numbers + n * QUERIES + lane;
        const Floats bent = tanh(load(at) * (1.0f / rows.cap));
        store(at, bent * rows.cap);
        if (slopes) store(slopes + n * QUERIES + lane, 1.0f - bent * bent);
      }
    for (int t = 0; t < rows.term_count; ++t) switch (rows.terms[t].kind) {
        case Term::bias: add_bias(rows.terms[t], block, tile); break;
        case Term::hidden: hide_pairs(rows.terms[t], block, tile); break;
        case Term::alibi: add_alibi(rows.terms[t], block, tile); break;
        case Term::relative: add_relative(rows.terms[t], tables[t], block, tile); break;
        case Term::near: add_near(rows.terms[t], block, tile); break;
      }
  }

  // Of what `add` made, the gradients of a tile to those of its terms.
  void add_gradients(const Block& block, const Tile& tile) const {
    for (int t = 0; t < rows.term_count; ++t) {
      const Term& term = rows.terms[t];
      if (!term.gradient.data) continue;
      if (term.kind == Term::bias) bias_gradient(term, block, tile);
      if (term.kind == Term::relative) relative_gradient(term, tables[t], block, tile);
      if (term.kind == Term::near) near_gradient(term, block, tile);
    }
  }
  void finish_group() const {
    for (int t = 0; t < rows.term_count; ++t)
      if (rows.terms[t].kind == Term::relative && rows.terms[t].gradient.data) tables[t].add_gradient(rows.terms[t], batch, head, part);
  }

  // Whether a term lets the lanes from `lane` on see a key.
  Ints allow(const Block& block, int lane, int key) const {
    Ints found = broadcast(-1);
    for (int t = 0; t < rows.term_count; ++t)
      if (rows.terms[t].kind == Term::hidden)
        for (int l = 0; l < LANES && lane + l < block.queries; ++l)
          if (!*pair_of<std::uint8_t>(rows.terms[t].tensor, block, lane + l, key)) found[l] = 0;
    return found;
  }
  bool hides() const {
    bool found = false;
    for (int t = 0; t < rows.term_count; ++t) found |= rows.terms[t].kind == Term::hidden;
    return found;
  }

 private:
  template <typename Number>
  static Number* pair_of(const Tensor& tensor, const Block& block, int i, int key) {
    return (Number*)tensor.data + block.batch * tensor.batch + block.head * tensor.head + (block.first + i) * tensor.row + key * tensor.column;
  }
  static Floats floats_of(const std::int32_t* positions) { return __builtin_convertvector(load(positions), Floats); }

  // A square of numbers of `tensor`: in rows queries from `lane` on, in lanes keys from `key` on. Or back.
  static void read_square(const Tensor& tensor, const Block& block, int lane, int key, Floats (&square)[LANES]) {
    for (int l = 0; l < LANES; ++l)
      square[l] = lane + l < block.queries ? load(pair_of<const float>(tensor, block, lane + l, key)) : Floats{};
  }

  static void add_bias(const Term& term, const Block& block, const Tile& tile) {
    const Tensor& tensor = term.tensor;
    for (int n = 0; n < tile.count; ++n) {
      float* at = tile.numbers + n * QUERIES;
      if (tensor.row == 0) {  // the same for all queries
        const Floats all = broadcast(*pair_of<const float>(tensor, block, 0, tile.keys[n]));
        for (int lane = 0; lane < block.lanes; lane += LANES) store(at + lane, load(at + lane) + all);
      } else if (tensor.column == 1 && tile.together(n)) {
        for (int lane = 0; lane < block.lanes; lane += LANES) {
          Floats square[LANES];
          read_square(tensor, block, lane, tile.keys[n], square);
          transpose(square);
          for (int j = 0; j < LANES; ++j) store(at + j * QUERIES + lane, load(at + j * QUERIES + lane) + square[j]);
        }
        n += LANES - 1;
      } else {
        for (int i = 0; i < block.queries; ++i) at[i] += *pair_of<const float>(tensor, block, i, tile.keys[n]);
      }
    }
  }
  void bias_gradient(const Term& term, const Block& block, const Tile& tile) const {
    Tensor tensor = term.gradient;
    tensor.data = (float*)tensor.data + part * term.part;
    for (int n = 0; n < tile.count; ++n) {
      const float* at = tile.numbers + n * QUERIES;
      if (tensor.row == 0) {
        Floats sums{};
        for (int lane = 0; lane < block.lanes; lane += LANES) sums += load(at + lane);
        float sum = 0.0f;
        for (int l = 0; l < LANES; ++l) sum += sums[l];
        *pair_of<float>(tensor, block, 0, tile.keys[n]) += sum;
      } else if (tensor.column == 1 && tile.together(n)) {
        for (int lane = 0; lane < block.lanes; lane += LANES) {
          Floats square[LANES];
          for (int j = 0; j < LANES; ++j) square[j] = load(at + j * QUERIES + lane);
          transpose(square);
          for (int l = 0; l < LANES && lane + l < block.queries; ++l) {
            float* to = pair_of<float>(tensor, block, lane + l, tile.keys[n]);
            store(to, load(to) + square[l]);
          }
        }
        n += LANES - 1;
      } else {
        for (int i = 0; i < block.queries; ++i) *pair_of<float>(tensor, block, i, tile.keys[n]) += at[i];
      }
    }
  }

  static void hide_pairs(const Term& term, const Block& block, const Tile& tile) {
    for (int i = 0; i < block.queries; ++i) {
      const std::uint8_t* row = pair_of<const std::uint8_t>(term.tensor, block, i, 0);
      for (int n = 0; n < tile.count; ++n)
        if (!row[tile.keys[n] * term.tensor.column]) tile.numbers[n * QUERIES + i] = -__builtin_inff();
    }
  }

  static void add_alibi(const Term& term, const Block& block, const Tile& tile) {
    const float slope = *pair_of<const float>(term.tensor, block, 0, 0);
    const Positions query(block, term.query_positions, term.query_batch);
    for (int n = 0; n < tile.count; ++n) {
      const Ints key = broadcast(term.key_positions[block.batch * term.key_batch + tile.keys[n]]);
      for (int lane = 0; lane < block.lanes; lane += LANES) {
        float* at = tile.numbers + n * QUERIES + lane;
        const Ints apart = load(query.at + lane) - key;
        store(at, load(at) - slope * __builtin_convertvector(apart < 0 ? -apart : apart, Floats));
      }
    }
  }

  // Where in the table the numbers of a tile are: of most tiles, when they are long, all pairs have the last one.
  struct Places {
    Positions query;
    const std::int32_t* keys;
    std::int64_t one = -1;  // in the term's own table, if it is the same for all

    Places(const Term& term, const Block& block, const Tile& tile)
        : query(block, term.query_positions, term.query_batch), keys(term.key_positions + block.batch * term.key_batch) {
      std::int64_t first = keys[tile.keys[0]], last = first, from = query.at[0], to = from;
      for (int n = 0; n < tile.count; ++n) {
        const std::int64_t at = keys[tile.keys[n]];
        first = at < first ? at : first, last = at > last ? at : last;
      }
      for (int i = 0; i < block.queries; ++i) {
        from = query.at[i] < from ? query.at[i] : from, to = query.at[i] > to ? query.at[i] : to;
      }
      if (last - from <= term.low) one = 0;
      if (first - to >= term.low + term.span - 1) one = term.span - 1;
    }
  };
  template <typename Whole, typename Single>
  static void places(const Places& places, const RelativeTable& table, const Block& block, const Tile& tile, const Whole& whole,
                     const Single& single) {
    for (int lane = 0; lane < block.lanes; lane += LANES)
      for (int n = 0; n < tile.count; ++n) {
        float* at = tile.numbers + n * QUERIES + lane;
        const std::int64_t key = places.keys[tile.keys[n]];
        if (places.query.together)
          whole(n, at, table.place(key - places.query.at[lane]));
        else
          for (int l = 0; l < LANES; ++l) single(at + l, table.place(key - places.query.at[lane + l]));
      }
  }
  static void add_relative(const Term& term, const RelativeTable& table, const Block& block, const Tile& tile) {
    const Places found(term, block, tile);
    if (found.one >= 0) {
      const float number = *((const float*)term.tensor.data + block.batch * term.tensor.batch + block.head * term.tensor.head +
                             found.one * term.tensor.column);
      for (int n = 0; n < tile.count; ++n)
        for (int lane = 0; lane < block.lanes; lane += LANES)
          store(tile.numbers + n * QUERIES + lane, load(tile.numbers + n * QUERIES + lane) + number);
      return;
    }
    places(
        found, table, block, tile, [&](int, float* at, std::int64_t place) { store(at, load(at) + load(table.numbers + place)); },
        [&](float* at, std::int64_t place) { *at += table.numbers[place]; });
  }
  static void relative_gradient(const Term& term, const RelativeTable& table, const Block& block, const Tile& tile) {
    const Places found(term, block, tile);
    if (found.one >= 0) {
      Floats sum{};
      for (int n = 0; n < tile.count; ++n)
        for (int lane = 0; lane < block.lanes; lane += LANES) sum += load(tile.numbers + n * QUERIES + lane);
      float* const to = table.places + (found.one == 0 ? table.length - LANES : 0);  // the end where that number is repeated
      store(to, load(to) + sum);
      return;
    }
    places(
        found, table, block, tile,
        [&](int n, const float* at, std::int64_t place) {
          float* const to = table.places + n % LANES * table.length + place;
          store(to, load(to) + load(at));
        },
        [&](const float* at, std::int64_t place) { table.places[place] += *at; });
  }

  struct Centers {
    float at[QUERIES];
    Centers(const Term& term, const Block& block) {
      for (int i = 0; i < QUERIES; ++i) at[i] = i < block.queries ? *pair_of<const float>(term.tensor, block, i, 0) : 0.0f;
    }
  };
  static void add_near(const Term& term, const Block& block, const Tile& tile) {
    const Centers center(term, block);
    for (int n = 0; n < tile.count; ++n)
      for (int lane = 0; lane < block.lanes; lane += LANES) {
        float* at = tile.numbers + n * QUERIES + lane;
        const Floats apart = (float)tile.keys[n] - load(center.at + lane);
        store(at, load(at) - term.factor * apart * apart);
      }
  }
  void near_gradient(const Term& term, const Block& block, const Tile& tile) const {
    const Centers center(term, block);
    Tensor tensor = term.gradient;
    tensor.data = (float*)tensor.data + part * term.part;
    for (int lane = 0; lane < block.lanes; lane += LANES) {
      Floats sum{};
      for (int n = 0; n < tile.count; ++n)
        sum += load(tile.numbers + n * QUERIES + lane) * ((float)tile.keys[n] - load(center.at + lane));
      for (int l = 0; l < LANES && lane + l < block.queries; ++l)
        *pair_of<float>(tensor, block, lane + l, 0) += 2.0f * term.factor * sum[l];
    }
  }
};

}  // namespace regard::REGARD_ISA
