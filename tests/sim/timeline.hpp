// Virtual time of one simulated cluster: what happens when, in one order that depends on the seed alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include <orchestrator/base/random.hpp>
#include <orchestrator/base/time.hpp>

namespace orchestrator::sim {

using namespace std::chrono_literals;

class timeline {
 public:
  using action = std::function<void()>;

  nanoseconds now() const { return now_; }
  /// Things at the same time happen in the order in which they were asked for.
  void at(nanoseconds when, action what) {
    heap_.push_back({std::max(when, now_), ++order_, std::move(what)});
    std::push_heap(heap_.begin(), heap_.end(), later{});
  }
  void after(nanoseconds delay, action what) { at(now_ + delay, std::move(what)); }
  /// The next thing, unless it lies behind `end`. False if there is none.
  bool run_one(nanoseconds end) {
    if (heap_.empty() || heap_.front().when > end) return false;
    std::pop_heap(heap_.begin(), heap_.end(), later{});
    entry next = std::move(heap_.back());
    heap_.pop_back();
    now_ = next.when;
    ++events_;
    next.what();
    return true;
  }
  std::uint64_t events() const { return events_; }

 private:
  struct entry {
    nanoseconds when;
    std::uint64_t order;
    action what;
  };
  struct later {
    bool operator()(const entry& a, const entry& b) const {
      return std::pair(a.when, a.order) > std::pair(b.when, b.order);
    }
  };
  std::vector<entry> heap_;
  nanoseconds now_{0};
  std::uint64_t order_ = 0;
  std::uint64_t events_ = 0;
};

/// The one source of chance of a seed.
class dice {
 public:
  explicit dice(std::uint64_t seed) : random_(seed) {}
  std::uint64_t next() { return random_.next(); }
  std::uint64_t below(std::uint64_t bound) { return random_.below(bound); }
  bool chance(double p) { return random_.unit() < p; }
  nanoseconds between(nanoseconds low, nanoseconds high) {
    return low +
           nanoseconds{static_cast<std::int64_t>(random_.unit() * static_cast<double>((high - low).count()))};
  }
  /// Mostly near `low`, seldom near `high`, over the orders of magnitude between them.
  nanoseconds spread(nanoseconds low, nanoseconds high);
  template <class T, std::size_t N>
  const T& one_of(const T (&list)[N]) {
    return list[below(N)];
  }

 private:
  random_source random_;
};

}  // namespace orchestrator::sim
