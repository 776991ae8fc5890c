// Facts are many and small (about five for each run), so the facts of one commit are stored as pages: rows
// that hold up to `facts_per_page` of them. The writer fills pages, the reader takes them apart.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <orchestrator/model/fact.hpp>
#include <orchestrator/store/store.hpp>

#include "pack.hpp"

namespace orchestrator::store {

inline constexpr std::size_t facts_per_page = 256;
inline constexpr std::size_t fact_page_bytes = 32 * 1024;

class fact_page {
 public:
  explicit fact_page(std::uint64_t first) : first_(first) {}
  void add(const fact& f, std::uint64_t batch) {
    pack_number(body_, batch);
    pack_number(body_, static_cast<std::uint64_t>(to_unix_ms(f.at)));
    pack_text(body_, f.type);
    pack_text(body_, f.subject);
    pack_text(body_, f.data);
    newest_at_ = count_ == 0 ? f.at : std::max(newest_at_, f.at);
    ++count_;
  }
  bool full() const { return count_ >= facts_per_page || body_.size() >= fact_page_bytes; }
  bool empty() const { return count_ == 0; }
  std::uint64_t first() const { return first_; }
  std::uint64_t next() const { return first_ + count_; }
  std::uint64_t count() const { return count_; }
  wall_time newest_at() const { return newest_at_; }
  const std::string& body() const { return body_; }

 private:
  std::uint64_t first_;
  std::uint64_t count_ = 0;
  wall_time newest_at_{};
  std::string body_;
};

/// Appends the facts of a page whose sequence is above `after`.
inline void unpack_facts(std::uint64_t first, std::string_view body, std::uint64_t after,
                         std::vector<stored_fact>& out) {
  unpacker in(body);
  for (std::uint64_t sequence = first; in.ok() && !in.at_end(); ++sequence) {
    stored_fact s;
    s.sequence = sequence;
    s.batch = in.number();
    s.fact.at = from_unix_ms(static_cast<std::int64_t>(in.number()));
    s.fact.type = in.text();
    s.fact.subject = in.text();
    s.fact.data = in.text();
    if (in.ok() && sequence > after) out.push_back(std::move(s));
  }
}

}  // namespace orchestrator::store
