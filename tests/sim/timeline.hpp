// Virtual time of one simulated cluster: what happens when, in one order that depends on the seed alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include <orchestrator/base/random.hpp>
#include <orchestrator/base/time.hpp>

namespace orchestrator::sim {

using namespace std::chrono_literals;

inline constexpr std::int64_t first_wall_seconds =
    1'772'409'600;  ///< 2026-03-02T00:00:00Z: where time begins

/// Something to do once. Like std::function, but what it needs lies inside it unless it is large: a seed
/// makes thousands.
class action {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, action>)
  action(F&& what) {
    using body = std::remove_cvref_t<F>;
    if constexpr (sizeof(body) <= room) {
      hold(std::forward<F>(what));
    } else {
      hold([own = std::make_unique<body>(std::forward<F>(what))] { (*own)(); });
    }
  }
  action(action&& other) noexcept : call_(other.call_), move_(std::exchange(other.move_, nullptr)) {
    if (move_ != nullptr) move_(other.body_, body_);
  }
  action& operator=(action&& other) noexcept {
    if (this != &other) {
      this->~action();
      new (this) action(std::move(other));
    }
    return *this;
  }
  ~action() {
    if (move_ != nullptr) move_(body_, nullptr);
  }
  void operator()() { call_(body_); }

 private:
  template <class F>
  void hold(F&& what) {
    using body = std::remove_cvref_t<F>;
    new (body_) body(std::forward<F>(what));
    call_ = [](void* b) { (*static_cast<body*>(b))(); };
    move_ = [](void* from, void* to) {
      if (to != nullptr) new (to) body(std::move(*static_cast<body*>(from)));
      static_cast<body*>(from)->~body();
    };
  }

  static constexpr std::size_t room = 128;
  alignas(std::max_align_t) std::byte body_[room];
  void (*call_)(void*) = nullptr;
  void (*move_)(void* from, void* to) = nullptr;  ///< to nowhere: destroys it
};

class timeline {
 public:
  nanoseconds now() const { return now_; }
  /// Things at the same time happen in the order in which they were asked for.
  void at(nanoseconds when, action what) {
    std::uint32_t place = static_cast<std::uint32_t>(actions_.size());
    if (free_.empty()) {
      actions_.push_back(std::move(what));
    } else {
      place = free_.back();
      free_.pop_back();
      actions_[place] = std::move(what);
    }
    heap_.push_back({std::max(when, now_), ++order_, place});
    std::push_heap(heap_.begin(), heap_.end(), later{});
  }
  void after(nanoseconds delay, action what) { at(now_ + delay, std::move(what)); }
  /// The next thing, unless it lies behind `end`. False if there is none.
  bool run_one(nanoseconds end) {
    if (heap_.empty() || heap_.front().when > end) return false;
    std::pop_heap(heap_.begin(), heap_.end(), later{});
    const entry next = heap_.back();
    heap_.pop_back();
    now_ = next.when;
    ++events_;
    action what = std::move(actions_[next.place]);
    free_.push_back(next.place);
    what();
    return true;
  }
  std::uint64_t events() const { return events_; }

 private:
  struct entry {
    nanoseconds when;
    std::uint64_t order;
    std::uint32_t place;  ///< in actions_
  };
  struct later {
    bool operator()(const entry& a, const entry& b) const {
      return a.when != b.when ? a.when > b.when : a.order > b.order;
    }
  };
  std::vector<entry> heap_;
  std::deque<action> actions_;
  std::vector<std::uint32_t> free_;
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
