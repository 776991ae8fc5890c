// The hashes of all idempotency keys on disk, so that a submission with a new key needs no look-up. May say
// yes for a key that retention has removed; never says no for one that is stored. Used by on_submit and
// restore.
#pragma once

#include <cstdint>
#include <vector>

namespace orchestrator::engine {

/// A set of 64-bit hashes with open addressing: 16 bytes a key at worst, which matters at a million keys.
class key_filter {
 public:
  void insert(std::uint64_t hash) {
    if ((count_ + 1) * 4 > slots_.size() * 3) grow();
    put(hash | 1);  // 0 marks a free slot; one bit less only costs a needless look-up
  }
  bool contains(std::uint64_t hash) const {
    if (slots_.empty()) return false;
    for (std::size_t i = index(hash | 1);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i] == (hash | 1)) return true;
      if (slots_[i] == 0) return false;
    }
  }
  std::size_t size() const { return count_; }

 private:
  std::size_t index(std::uint64_t value) const {
    return static_cast<std::size_t>(value >> 1) & (slots_.size() - 1);
  }
  void put(std::uint64_t value) {
    std::size_t i = index(value);
    while (slots_[i] != 0 && slots_[i] != value) i = (i + 1) & (slots_.size() - 1);
    if (slots_[i] == 0) ++count_;
    slots_[i] = value;
  }
  void grow() {
    std::vector<std::uint64_t> old(slots_.empty() ? 64 : slots_.size() * 2);
    old.swap(slots_);
    count_ = 0;
    for (const std::uint64_t value : old) {
      if (value != 0) put(value);
    }
  }
  std::vector<std::uint64_t> slots_;  ///< a power of two, at most three quarters full
  std::size_t count_ = 0;
};

}  // namespace orchestrator::engine
