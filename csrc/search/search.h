// A whole search: the steps of a decoder, and between them which tokens are emitted. By the rules of regard/decoding.
#pragma once

#include "search/decoder_rows.h"

namespace regard {

// The special tokens of regard/models/tokens.py.
constexpr std::int32_t PAD = 0, UNKNOWN = 1, START = 2, END = 3;

struct Search {
  DecoderRows* rows;          // one a sentence, before the first step; used up
  const float* table;         // (vocabulary, dim): embeddings
  float scale;                // of theirs
  const float* positions;     // (steps, dim): added to them, or null
  const float* turns;         // (steps, turn): cosines and sines, or null
  std::int64_t turn;
  const std::int64_t* longest;  // (sentences): the most tokens, END counted
  bool greedy;                // no beams: the likeliest token of each row
  int width, best;            // beams of a sentence, and outputs that are wanted
  double penalty;             // log-probabilities are divided by the length to the power of it
  std::int64_t shortest;      // tokens before END
  int ngram;                  // no so many tokens appear twice in a row; 0: they may
  int threads;
  bool (*goes_on)();          // asked before each step
};

// Where an output ends: it emitted `token` at `step` in that step's `row`.
struct Ending {
  std::int32_t sentence, step, row, token;
  float log_probability, score;
};

// What a search did: of each step the rows that went on and what they emitted, the steps one after the other.
struct Searched {
  std::vector<std::int32_t> parents, tokens;
  std::vector<std::int32_t> counts;  // of each step
  std::vector<Ending> endings;
  std::int64_t impossible = -1, after = 0;  // the sentence that could emit nothing, and after how many tokens
  bool strange = false;                     // because a number was NaN
};

Status search(const Search& call, Searched& found) noexcept;

}  // namespace regard
