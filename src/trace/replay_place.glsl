// SPDX-License-Identifier: Apache-2.0
//
// Which words of a piece are stamped, and with what. The same as in
// replay_verify.c.
const uint THREADS = 128u;
const uint PLACE_WORDS = 16u;

uint mix_word(uint value) {
  value = (value ^ (value >> 16)) * 0x85ebca6bu;
  value = (value ^ (value >> 13)) * 0xc2b2ae35u;
  return value ^ (value >> 16);
}

uint seed_of(uint number_low, uint number_high) {
  return number_low ^ mix_word(number_high);
}

uint stamp_word(uint seed, uint piece, uint word) {
  return mix_word(mix_word(word + piece * 0x9e3779b9u) ^ seed);
}

// The word that |thread| looks after; |word_count| or more: none.
uint place_word(uint seed, uint word_count, uint thread) {
  if (word_count <= THREADS) return thread;
  uint place = thread / PLACE_WORDS;
  uint last = THREADS / PLACE_WORDS - 1u;
  uint share = word_count / (last + 1u);
  uint begin = place * share;
  if (place == last) {
    begin = word_count - PLACE_WORDS;
  } else if (place > 0u) {
    begin += mix_word(seed + place) % (share - PLACE_WORDS + 1u);
  }
  return begin + thread % PLACE_WORDS;
}
